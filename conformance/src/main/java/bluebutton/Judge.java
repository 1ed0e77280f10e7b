package bluebutton;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.SingleValidationMessage;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Stream;
import java.util.zip.GZIPInputStream;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.PrePopulatedValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.UnknownCodeSystemWarningValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.instance.model.api.IBaseResource;
import org.hl7.fhir.r4.model.CodeSystem;
import org.hl7.fhir.r4.model.StructureDefinition;
import org.hl7.fhir.r4.model.ValueSet;
import org.hl7.fhir.r5.utils.validation.constants.BestPracticeWarningLevel;

/**
 * Validates the lines of NDJSON files against the profiles that they name, offline.
 *
 * <p>Usage: {@code Judge DEFINITIONS THREADS FILE...}. DEFINITIONS is a folder of
 * StructureDefinitions, ValueSets and CodeSystems as JSON. Prints one JSON object an issue, and one
 * with {@code checked} a file.
 */
public final class Judge {
  private final FhirContext context = FhirContext.forR4();
  private final ObjectMapper json = new ObjectMapper();
  private final FhirValidator validator;

  private final DefaultProfileValidationSupport defaults =
      new DefaultProfileValidationSupport(context);

  private Judge(Path definitions) throws IOException {
    PrePopulatedValidationSupport guide = new PrePopulatedValidationSupport(context);
    try (Stream<Path> files = Files.walk(definitions)) {
      for (Path file : (Iterable<Path>) files.filter(f -> f.toString().endsWith(".json"))::iterator) {
        add(guide, Files.readString(file));
      }
    }
    UnknownCodeSystemWarningValidationSupport unknown =
        new UnknownCodeSystemWarningValidationSupport(context);
    unknown.setNonExistentCodeSystemSeverity(
        ca.uhn.fhir.context.support.IValidationSupport.IssueSeverity.WARNING);
    ValidationSupportChain chain =
        new ValidationSupportChain(
            guide,
            defaults,
            new CommonCodeSystemsTerminologyService(context),
            new InMemoryTerminologyServerValidationSupport(context),
            unknown);
    // As R4 binds a CodeableConcept: one of its codings has to be in the value set.
    chain.setCodeableConceptValidationSuccessfulIfNotAllCodingsAreValid(true);
    FhirInstanceValidator module = new FhirInstanceValidator(chain);
    module.setBestPracticeWarningLevel(BestPracticeWarningLevel.Ignore);
    module.setAnyExtensionsAllowed(true);
    module.setErrorForUnknownProfiles(false);
    module.setAssumeValidRestReferences(true);
    module.setHostApplicationServices(new Resolver());
    validator = context.newValidator().registerValidatorModule(module);
  }

  private void add(PrePopulatedValidationSupport guide, String text) {
    IBaseResource resource = context.newJsonParser().parseResource(text);
    if (resource instanceof StructureDefinition) {
      guide.addStructureDefinition(resource);
    } else if (resource instanceof ValueSet) {
      guide.addValueSet(resource);
    } else if (resource instanceof CodeSystem system) {
      guide.addCodeSystem(completed(system));
    }
  }

  /** Adds to a fragment, which only has what value sets list, the codes that FHIR R4 has. */
  private CodeSystem completed(CodeSystem system) {
    IBaseResource known = defaults.fetchCodeSystem(system.getUrl());
    if (system.getContent() == CodeSystem.CodeSystemContentMode.FRAGMENT
        && known instanceof CodeSystem r4) {
      Set<String> codes = new HashSet<>();
      r4.getConcept().forEach(concept -> codes(concept, codes));
      system.getConcept().removeIf(concept -> codes.contains(concept.getCode()));
      r4.getConcept().forEach(concept -> system.addConcept(concept.copy()));
    }
    return system;
  }

  private static void codes(CodeSystem.ConceptDefinitionComponent concept, Set<String> codes) {
    codes.add(concept.getCode());
    concept.getConcept().forEach(child -> codes(child, codes));
  }

  private List<String> issues(String file, int line, String text) {
    List<String> found = new ArrayList<>();
    for (SingleValidationMessage message : validator.validateWithResult(text).getMessages()) {
      ObjectNode issue = json.createObjectNode();
      issue.put("file", file);
      issue.put("line", line);
      issue.put("severity", message.getSeverity().getCode());
      issue.put("path", message.getLocationString());
      issue.put("rule", message.getMessageId());
      issue.put("text", message.getMessage());
      found.add(issue.toString());
    }
    return found;
  }

  private void file(ExecutorService pool, Path file, PrintStream out)
      throws IOException, InterruptedException, ExecutionException {
    List<Future<List<String>>> answers = new ArrayList<>();
    int number = 0;
    try (InputStream raw = Files.newInputStream(file);
        InputStream plain = file.toString().endsWith(".gz") ? new GZIPInputStream(raw) : raw;
        BufferedReader lines =
            new BufferedReader(new InputStreamReader(plain, StandardCharsets.UTF_8))) {
      for (String text = lines.readLine(); text != null; text = lines.readLine()) {
        number++;
        if (!text.isBlank()) {
          int line = number;
          String resource = text;
          answers.add(pool.submit(() -> issues(file.toString(), line, resource)));
        }
      }
    }
    for (Future<List<String>> answer : answers) {
      answer.get().forEach(out::println);
    }
    ObjectNode done = json.createObjectNode();
    done.put("file", file.toString());
    done.put("checked", answers.size());
    out.println(done);
  }

  public static void main(String[] arguments) throws Exception {
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    Judge judge = new Judge(Path.of(arguments[0]));
    ExecutorService pool = Executors.newFixedThreadPool(Integer.parseInt(arguments[1]));
    try {
      for (int i = 2; i < arguments.length; i++) {
        judge.file(pool, Path.of(arguments[i]), out);
      }
    } finally {
      pool.shutdown();
    }
  }
}
