package bluebutton;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.exceptions.FHIRException;
import org.hl7.fhir.r5.elementmodel.Manager;
import org.hl7.fhir.r5.elementmodel.Manager.FhirFormat;
import org.hl7.fhir.r5.fhirpath.FHIRPathEngine;
import org.hl7.fhir.r5.model.Base;
import org.hl7.fhir.r5.model.ValueSet;

/**
 * What FHIRPath may look up: a reference's type, and value sets.
 *
 * <p>The guide's invariants ask what type a reference resolves to ({@code resolve() is
 * Practitioner}); the reference itself says that. That the resource exists, and conforms, is found
 * out where it stands.
 */
final class Resolver extends FhirInstanceValidator.NullEvaluationContext {
  private static final Pattern REFERENCE =
      Pattern.compile("(?:.*/)?([A-Z][A-Za-z]+)/[A-Za-z0-9.-]{1,64}(?:/_history/.*)?");

  @Override
  public Base resolveReference(FHIRPathEngine engine, Object context, String url, Base source) {
    Matcher found = REFERENCE.matcher(url);
    if (!found.matches()) {
      return null;
    }
    String text = "{\"resourceType\":\"" + found.group(1) + "\"}";
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    try {
      return Manager.parseSingle(
          engine.getWorker(), new ByteArrayInputStream(bytes), FhirFormat.JSON);
    } catch (IOException e) {
      throw new FHIRException(e);
    }
  }

  @Override
  public ValueSet resolveValueSet(FHIRPathEngine engine, Object context, String url) {
    return engine.getWorker().fetchResource(ValueSet.class, url);
  }
}
