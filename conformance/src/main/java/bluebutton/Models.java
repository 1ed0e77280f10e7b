package bluebutton;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.parser.IParser;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.hl7.fhir.r4.model.ExplanationOfBenefit;

/**
 * Processor time that HAPI FHIR's Java model takes to be built and encoded: a line of JSON a round.
 *
 * <p>Usage: Models NDJSON ROUNDS. A model is built as a copy of one that was parsed, which sets every
 * element as a mapping would, and reads no text. The first rounds warm the compiler up.
 */
final class Models {
  private Models() {}

  public static void main(String[] arguments) throws Exception {
    IParser parser = FhirContext.forR4Cached().newJsonParser();
    List<ExplanationOfBenefit> claims = new ArrayList<>();
    for (String line : Files.readAllLines(Path.of(arguments[0]))) {
      claims.add(parser.parseResource(ExplanationOfBenefit.class, line));
    }
    ThreadMXBean processor = ManagementFactory.getThreadMXBean();
    int rounds = Integer.parseInt(arguments[1]);
    for (int round = 0; round < rounds; round++) {
      long bytes = 0;
      long began = processor.getCurrentThreadCpuTime();
      for (ExplanationOfBenefit claim : claims) {
        bytes += parser.encodeResourceToString(claim.copy()).length();
      }
      double seconds = (processor.getCurrentThreadCpuTime() - began) / 1e9;
      System.out.printf("{\"claims\": %d, \"bytes\": %d, \"seconds\": %f}%n", claims.size(), bytes, seconds);
    }
  }
}
