// An independent validator of FHIR R4: HL7's own (org.hl7.fhir.validation), as HAPI FHIR packs it, with the R4 definitions and the code
// systems that come with them; no terminology server. Arguments: files of one resource each, or of one a line (.ndjson).
// Prints what it finds, errors and warnings, and ends with "N resources: E errors, W warnings"; exit 1 where there are errors.
import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import ca.uhn.fhir.validation.SingleValidationMessage;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.PrePopulatedValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.SnapshotGeneratingValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.r4.model.CodeSystem;

public class FhirValidate {
  // The code AIAST is younger than the copy of its code system in R4 (HL7 Terminology has had it since version 5).
  private static PrePopulatedValidationSupport newer(FhirContext context) {
    var own = new PrePopulatedValidationSupport(context);
    String url = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
    var system = (CodeSystem) new DefaultProfileValidationSupport(context).fetchCodeSystem(url);
    system = system.copy();
    system.addConcept().setCode("AIAST").setDisplay("Artificial Intelligence asserted");
    own.addCodeSystem(system);
    return own;
  }

  public static void main(String[] args) throws Exception {
    FhirContext context = FhirContext.forR4();
    var chain = new ValidationSupportChain(newer(context), new DefaultProfileValidationSupport(context), new CommonCodeSystemsTerminologyService(context),
        new InMemoryTerminologyServerValidationSupport(context), new SnapshotGeneratingValidationSupport(context));
    var instance = new FhirInstanceValidator(chain);
    instance.setAnyExtensionsAllowed(true); // those of "AI Transparency on FHIR" are in no package that is at hand
    instance.setErrorForUnknownProfiles(false);
    FhirValidator validator = context.newValidator().registerValidatorModule(instance);
    int resources = 0, errors = 0, warnings = 0;
    for (String name : args) {
      String text = Files.readString(Path.of(name));
      List<String> all = name.endsWith(".ndjson") ? text.lines().filter(l -> !l.isBlank()).toList() : List.of(text);
      for (String one : all) {
        resources++;
        for (SingleValidationMessage m : validator.validateWithResult(one).getMessages()) {
          boolean error = m.getSeverity() == ResultSeverityEnum.ERROR || m.getSeverity() == ResultSeverityEnum.FATAL;
          if (!error && m.getSeverity() != ResultSeverityEnum.WARNING) continue;
          if (error) errors++; else warnings++;
          System.out.println((error ? "error " : "warning ") + name + ": " + m.getLocationString() + ": " + m.getMessage());
        }
      }
    }
    System.out.println(resources + " resources: " + errors + " errors, " + warnings + " warnings");
    System.exit(errors > 0 || resources == 0 ? 1 : 0);
  }
}
