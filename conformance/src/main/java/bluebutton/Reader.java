package bluebutton;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.parser.StrictErrorHandler;
import ca.uhn.fhir.rest.client.api.IGenericClient;
import ca.uhn.fhir.rest.client.api.ServerValidationModeEnum;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import org.hl7.fhir.instance.model.api.IBaseResource;
import org.hl7.fhir.r4.model.Bundle;
import org.hl7.fhir.r4.model.Bundle.BundleEntryComponent;
import org.hl7.fhir.r4.model.CapabilityStatement;
import org.hl7.fhir.r4.model.CapabilityStatement.CapabilityStatementRestResourceComponent;
import org.hl7.fhir.r4.model.Resource;

/**
 * Reads all that a server without a token has, with HAPI's client, strictly: an element that R4 does
 * not have, or a value that cannot be read, is an error.
 *
 * <p>Usage: {@code Reader BASE}. Every type that the CapabilityStatement names is searched page by
 * page, and every match read by itself as well. Prints one JSON object a type, with its {@code type},
 * how many were {@code read}, and how many read otherwise by themselves ({@code differ}).
 */
public final class Reader {
  private final ObjectMapper json = new ObjectMapper();
  private final IGenericClient client;

  private Reader(String base) {
    FhirContext context = FhirContext.forR4();
    context.setParserErrorHandler(new StrictErrorHandler());
    context.getRestfulClientFactory().setServerValidationMode(ServerValidationModeEnum.ONCE);
    context.getRestfulClientFactory().setSocketTimeout(60_000);
    client = context.newRestfulGenericClient(base);
  }

  private List<String> types() {
    CapabilityStatement statement =
        client.capabilities().ofType(CapabilityStatement.class).execute();
    return statement.getRestFirstRep().getResource().stream()
        .map(CapabilityStatementRestResourceComponent::getType)
        .toList();
  }

  private ObjectNode read(String type) {
    int read = 0;
    int differ = 0;
    Bundle page = client.search().forResource(type).count(20).returnBundle(Bundle.class).execute();
    while (page != null) {
      for (BundleEntryComponent entry : page.getEntry()) {
        Resource found = entry.getResource();
        if (found.fhirType().equals(type)) {
          read++;
          String id = found.getIdElement().getIdPart();
          IBaseResource alone = client.read().resource(type).withId(id).execute();
          differ += text(found).equals(text(alone)) ? 0 : 1;
        }
      }
      page =
          page.getLink(Bundle.LINK_NEXT) == null ? null : client.loadPage().next(page).execute();
    }
    return json.createObjectNode().put("type", type).put("read", read).put("differ", differ);
  }

  private String text(IBaseResource resource) {
    return client.getFhirContext().newJsonParser().encodeResourceToString(resource);
  }

  /** Reads the server of the only argument. */
  public static void main(String[] arguments) {
    Reader reader = new Reader(arguments[0]);
    reader.types().forEach(type -> System.out.println(reader.read(type)));
  }
}
