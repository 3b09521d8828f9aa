/* The schema as data: which element of which resource goes where, the names of all R4 resource types, code systems by URL.
 * Facts from HL7 FHIR R4 (4.0.1): resource definitions, the terminology systems page, v2 table 0203. */
#include <pthread.h>

#include "base/hash.h"
#include "record/fhir.h"

/* Names -> rows: open addressing, built once per process, read-only afterwards. */
#define LOOKUP_SLOTS 128
struct lookup {
  uint8_t row[LOOKUP_SLOTS]; /* index + 1; 0 = free */
};

#define TAKE(r, name, slot) \
  { #name, sizeof #name - 1, slot, #r "." #name }
#define IGNORE(r, name) TAKE(r, name, SLOT_IGNORE)
#define DROP(r, name) TAKE(r, name, SLOT_DROP)
#define RESOURCE(r)                                                                                   \
  TAKE(r, id, SLOT_ID), IGNORE(r, resourceType), IGNORE(r, meta), IGNORE(r, language), DROP(r, text), \
      TAKE(r, modifierExtension, SLOT_MODIFIER), TAKE(r, implicitRules, SLOT_RULES), TAKE(r, identifier, SLOT_IDENTIFIER)
#define SUBJECT(r) RESOURCE(r), DROP(r, extension), TAKE(r, subject, SLOT_SUBJECT), IGNORE(r, encounter), DROP(r, note)

static struct lookup patient_names;
static const struct element patient_elements[] = {
    RESOURCE(Patient),
    IGNORE(Patient, active),
    TAKE(Patient, name, SLOT_A),
    TAKE(Patient, telecom, SLOT_B),
    TAKE(Patient, gender, SLOT_C),
    TAKE(Patient, birthDate, SLOT_T0),
    TAKE(Patient, deceasedBoolean, SLOT_BOOLEAN),
    TAKE(Patient, deceasedDateTime, SLOT_T1),
    TAKE(Patient, address, SLOT_D),
    TAKE(Patient, maritalStatus, SLOT_E),
    DROP(Patient, multipleBirthBoolean),
    DROP(Patient, multipleBirthInteger),
    TAKE(Patient, photo, SLOT_F),
    TAKE(Patient, contact, SLOT_G),
    DROP(Patient, communication),
    IGNORE(Patient, generalPractitioner),
    IGNORE(Patient, managingOrganization),
    DROP(Patient, link),
    DROP(Patient, contained),
    TAKE(Patient, extension, SLOT_H),
};
static struct lookup related_names;
static const struct element related_elements[] = {
    RESOURCE(RelatedPerson),
    DROP(RelatedPerson, extension),
    DROP(RelatedPerson, contained),
    IGNORE(RelatedPerson, active),
    TAKE(RelatedPerson, patient, SLOT_SUBJECT),
    DROP(RelatedPerson, relationship),
    TAKE(RelatedPerson, name, SLOT_A),
    TAKE(RelatedPerson, telecom, SLOT_B),
    DROP(RelatedPerson, gender),
    DROP(RelatedPerson, birthDate),
    TAKE(RelatedPerson, address, SLOT_D),
    TAKE(RelatedPerson, photo, SLOT_F),
    DROP(RelatedPerson, period),
    DROP(RelatedPerson, communication),
};
static struct lookup encounter_names;
static const struct element encounter_elements[] = {
    SUBJECT(Encounter),
    DROP(Encounter, contained),
    TAKE(Encounter, status, SLOT_STATUS),
    DROP(Encounter, statusHistory),
    TAKE(Encounter, class, SLOT_A),
    DROP(Encounter, classHistory),
    TAKE(Encounter, type, SLOT_CODE),
    DROP(Encounter, serviceType),
    DROP(Encounter, priority),
    IGNORE(Encounter, episodeOfCare),
    IGNORE(Encounter, basedOn),
    IGNORE(Encounter, participant),
    IGNORE(Encounter, appointment),
    TAKE(Encounter, period, SLOT_B),
    IGNORE(Encounter, length),
    DROP(Encounter, reasonCode),
    IGNORE(Encounter, reasonReference),
    IGNORE(Encounter, diagnosis),
    IGNORE(Encounter, account),
    TAKE(Encounter, hospitalization, SLOT_C),
    DROP(Encounter, location),
    IGNORE(Encounter, serviceProvider),
    IGNORE(Encounter, partOf),
};
static struct lookup condition_names;
static const struct element condition_elements[] = {
    SUBJECT(Condition),
    DROP(Condition, contained),
    IGNORE(Condition, clinicalStatus),
    TAKE(Condition, verificationStatus, SLOT_STATUS),
    IGNORE(Condition, category),
    DROP(Condition, severity),
    TAKE(Condition, code, SLOT_CODE),
    DROP(Condition, bodySite),
    TAKE(Condition, onsetDateTime, SLOT_T0),
    TAKE(Condition, onsetPeriod, SLOT_T1),
    TAKE(Condition, recordedDate, SLOT_T2),
    DROP(Condition, onsetAge),
    DROP(Condition, onsetRange),
    DROP(Condition, onsetString),
    TAKE(Condition, abatementDateTime, SLOT_END0),
    TAKE(Condition, abatementPeriod, SLOT_END1),
    DROP(Condition, abatementAge),
    DROP(Condition, abatementRange),
    DROP(Condition, abatementString),
    IGNORE(Condition, recorder),
    IGNORE(Condition, asserter),
    DROP(Condition, stage),
    DROP(Condition, evidence),
};
#define OBSERVED(r)                                                                                                                        \
  TAKE(r, valueQuantity, SLOT_QUANTITY), TAKE(r, valueCodeableConcept, SLOT_CONCEPT), TAKE(r, valueString, SLOT_STRING),                   \
      TAKE(r, valueBoolean, SLOT_BOOLEAN), TAKE(r, valueInteger, SLOT_INTEGER), DROP(r, valueRange), DROP(r, valueRatio),                  \
      DROP(r, valueSampledData), DROP(r, valueTime), DROP(r, valueDateTime), DROP(r, valuePeriod), TAKE(r, dataAbsentReason, SLOT_ABSENT), \
      DROP(r, interpretation), IGNORE(r, referenceRange), TAKE(r, code, SLOT_CODE)
static struct lookup observation_names;
static const struct element observation_elements[] = {
    SUBJECT(Observation),
    DROP(Observation, contained),
    OBSERVED(Observation),
    TAKE(Observation, status, SLOT_STATUS),
    TAKE(Observation, effectiveDateTime, SLOT_T0),
    TAKE(Observation, effectiveInstant, SLOT_T1),
    TAKE(Observation, effectivePeriod, SLOT_T2),
    TAKE(Observation, effectiveTiming, SLOT_T3),
    TAKE(Observation, issued, SLOT_T4),
    TAKE(Observation, component, SLOT_A),
    IGNORE(Observation, category),
    IGNORE(Observation, basedOn),
    IGNORE(Observation, partOf),
    IGNORE(Observation, focus),
    IGNORE(Observation, performer),
    DROP(Observation, bodySite),
    DROP(Observation, method),
    IGNORE(Observation, specimen),
    IGNORE(Observation, device),
    IGNORE(Observation, hasMember),
    IGNORE(Observation, derivedFrom),
};
static struct lookup component_names;
static const struct element component_elements[] = {OBSERVED(Observation.component), IGNORE(Observation.component, id),
                                                    DROP(Observation.component, extension),
                                                    TAKE(Observation.component, modifierExtension, SLOT_MODIFIER)};
static struct lookup procedure_names;
static const struct element procedure_elements[] = {
    SUBJECT(Procedure),
    DROP(Procedure, contained),
    IGNORE(Procedure, instantiatesCanonical),
    IGNORE(Procedure, instantiatesUri),
    IGNORE(Procedure, basedOn),
    IGNORE(Procedure, partOf),
    TAKE(Procedure, status, SLOT_STATUS),
    DROP(Procedure, statusReason),
    IGNORE(Procedure, category),
    TAKE(Procedure, code, SLOT_CODE),
    TAKE(Procedure, performedDateTime, SLOT_T0),
    TAKE(Procedure, performedPeriod, SLOT_T1),
    DROP(Procedure, performedString),
    DROP(Procedure, performedAge),
    DROP(Procedure, performedRange),
    IGNORE(Procedure, recorder),
    IGNORE(Procedure, asserter),
    IGNORE(Procedure, performer),
    IGNORE(Procedure, location),
    DROP(Procedure, reasonCode),
    IGNORE(Procedure, reasonReference),
    DROP(Procedure, bodySite),
    DROP(Procedure, outcome),
    IGNORE(Procedure, report),
    DROP(Procedure, complication),
    IGNORE(Procedure, complicationDetail),
    DROP(Procedure, followUp),
    IGNORE(Procedure, focalDevice),
    IGNORE(Procedure, usedReference),
    DROP(Procedure, usedCode),
};
#define MEDICATION_USE(r)                                                                                                          \
  SUBJECT(r), TAKE(r, contained, SLOT_CONTAINED), TAKE(r, status, SLOT_STATUS), DROP(r, statusReason), IGNORE(r, category),        \
      TAKE(r, medicationCodeableConcept, SLOT_CODE), TAKE(r, medicationReference, SLOT_A), IGNORE(r, partOf), IGNORE(r, basedOn),  \
      DROP(r, reasonCode), IGNORE(r, reasonReference), IGNORE(r, context), IGNORE(r, supportingInformation), IGNORE(r, performer), \
      IGNORE(r, eventHistory), IGNORE(r, device), IGNORE(r, detectedIssue), IGNORE(r, substitution)
static struct lookup request_names;
static const struct element request_elements[] = {
    MEDICATION_USE(MedicationRequest),
    TAKE(MedicationRequest, authoredOn, SLOT_T0),
    TAKE(MedicationRequest, intent, SLOT_B),
    TAKE(MedicationRequest, doNotPerform, SLOT_C),
    IGNORE(MedicationRequest, priority),
    IGNORE(MedicationRequest, reportedBoolean),
    IGNORE(MedicationRequest, reportedReference),
    IGNORE(MedicationRequest, requester),
    IGNORE(MedicationRequest, performerType),
    IGNORE(MedicationRequest, recorder),
    IGNORE(MedicationRequest, instantiatesCanonical),
    IGNORE(MedicationRequest, instantiatesUri),
    DROP(MedicationRequest, groupIdentifier),
    IGNORE(MedicationRequest, courseOfTherapyType),
    IGNORE(MedicationRequest, insurance),
    DROP(MedicationRequest, dosageInstruction),
    DROP(MedicationRequest, dispenseRequest),
    IGNORE(MedicationRequest, priorPrescription),
};
static struct lookup administration_names;
static const struct element administration_elements[] = {
    MEDICATION_USE(MedicationAdministration),
    TAKE(MedicationAdministration, effectiveDateTime, SLOT_T0),
    TAKE(MedicationAdministration, effectivePeriod, SLOT_T1),
    TAKE(MedicationAdministration, dosage, SLOT_D),
    IGNORE(MedicationAdministration, instantiates),
    IGNORE(MedicationAdministration, request),
};
static struct lookup statement_names;
static const struct element statement_elements[] = {
    MEDICATION_USE(MedicationStatement),
    TAKE(MedicationStatement, effectiveDateTime, SLOT_T0),
    TAKE(MedicationStatement, effectivePeriod, SLOT_T1),
    TAKE(MedicationStatement, dateAsserted, SLOT_T2),
    IGNORE(MedicationStatement, informationSource),
    IGNORE(MedicationStatement, derivedFrom),
    DROP(MedicationStatement, dosage),
};
static struct lookup dispense_names;
static const struct element dispense_elements[] = {
    MEDICATION_USE(MedicationDispense),
    TAKE(MedicationDispense, whenHandedOver, SLOT_T0),
    TAKE(MedicationDispense, whenPrepared, SLOT_T1),
    DROP(MedicationDispense, statusReasonCodeableConcept),
    IGNORE(MedicationDispense, statusReasonReference),
    IGNORE(MedicationDispense, location),
    IGNORE(MedicationDispense, authorizingPrescription),
    IGNORE(MedicationDispense, type),
    DROP(MedicationDispense, quantity),
    DROP(MedicationDispense, daysSupply),
    IGNORE(MedicationDispense, destination),
    IGNORE(MedicationDispense, receiver),
    DROP(MedicationDispense, dosageInstruction),
};
static struct lookup medication_names;
static const struct element medication_elements[] = {
    RESOURCE(Medication),         DROP(Medication, extension),      DROP(Medication, contained), TAKE(Medication, code, SLOT_CODE),
    IGNORE(Medication, status),   IGNORE(Medication, manufacturer), IGNORE(Medication, form),    IGNORE(Medication, amount),
    DROP(Medication, ingredient), IGNORE(Medication, batch),
};
static struct lookup immunization_names;
static const struct element immunization_elements[] = {
    RESOURCE(Immunization),
    DROP(Immunization, extension),
    DROP(Immunization, contained),
    TAKE(Immunization, patient, SLOT_SUBJECT),
    TAKE(Immunization, status, SLOT_STATUS),
    DROP(Immunization, statusReason),
    TAKE(Immunization, vaccineCode, SLOT_CODE),
    TAKE(Immunization, occurrenceDateTime, SLOT_T0),
    TAKE(Immunization, recorded, SLOT_T1),
    DROP(Immunization, occurrenceString),
    IGNORE(Immunization, encounter),
    IGNORE(Immunization, primarySource),
    DROP(Immunization, reportOrigin),
    IGNORE(Immunization, location),
    IGNORE(Immunization, manufacturer),
    DROP(Immunization, lotNumber),
    DROP(Immunization, expirationDate),
    DROP(Immunization, site),
    DROP(Immunization, route),
    DROP(Immunization, doseQuantity),
    IGNORE(Immunization, performer),
    DROP(Immunization, note),
    DROP(Immunization, reasonCode),
    IGNORE(Immunization, reasonReference),
    DROP(Immunization, isSubpotent),
    DROP(Immunization, subpotentReason),
    DROP(Immunization, education),
    IGNORE(Immunization, programEligibility),
    IGNORE(Immunization, fundingSource),
    DROP(Immunization, reaction),
    DROP(Immunization, protocolApplied),
};
static struct lookup allergy_names;
static const struct element allergy_elements[] = {
    RESOURCE(AllergyIntolerance),
    DROP(AllergyIntolerance, extension),
    DROP(AllergyIntolerance, contained),
    TAKE(AllergyIntolerance, patient, SLOT_SUBJECT),
    IGNORE(AllergyIntolerance, clinicalStatus),
    TAKE(AllergyIntolerance, verificationStatus, SLOT_STATUS),
    IGNORE(AllergyIntolerance, type),
    IGNORE(AllergyIntolerance, category),
    DROP(AllergyIntolerance, criticality),
    TAKE(AllergyIntolerance, code, SLOT_CODE),
    IGNORE(AllergyIntolerance, encounter),
    TAKE(AllergyIntolerance, onsetDateTime, SLOT_T0),
    TAKE(AllergyIntolerance, onsetPeriod, SLOT_T1),
    TAKE(AllergyIntolerance, recordedDate, SLOT_T2),
    DROP(AllergyIntolerance, onsetAge),
    DROP(AllergyIntolerance, onsetRange),
    DROP(AllergyIntolerance, onsetString),
    IGNORE(AllergyIntolerance, recorder),
    IGNORE(AllergyIntolerance, asserter),
    DROP(AllergyIntolerance, lastOccurrence),
    DROP(AllergyIntolerance, note),
    DROP(AllergyIntolerance, reaction),
};
static struct lookup report_names;
static const struct element report_elements[] = {
    SUBJECT(DiagnosticReport),
    DROP(DiagnosticReport, contained),
    IGNORE(DiagnosticReport, basedOn),
    TAKE(DiagnosticReport, status, SLOT_STATUS),
    IGNORE(DiagnosticReport, category),
    TAKE(DiagnosticReport, code, SLOT_CODE),
    TAKE(DiagnosticReport, effectiveDateTime, SLOT_T0),
    TAKE(DiagnosticReport, effectivePeriod, SLOT_T1),
    TAKE(DiagnosticReport, issued, SLOT_T2),
    IGNORE(DiagnosticReport, performer),
    IGNORE(DiagnosticReport, resultsInterpreter),
    IGNORE(DiagnosticReport, specimen),
    IGNORE(DiagnosticReport, result),
    IGNORE(DiagnosticReport, imagingStudy),
    DROP(DiagnosticReport, media),
    TAKE(DiagnosticReport, conclusion, SLOT_A),
    TAKE(DiagnosticReport, conclusionCode, SLOT_B),
    TAKE(DiagnosticReport, presentedForm, SLOT_C),
};
static struct lookup document_names;
static const struct element document_elements[] = {
    SUBJECT(DocumentReference),
    DROP(DocumentReference, contained),
    TAKE(DocumentReference, masterIdentifier, SLOT_B),
    TAKE(DocumentReference, status, SLOT_STATUS),
    IGNORE(DocumentReference, docStatus),
    TAKE(DocumentReference, type, SLOT_CODE),
    IGNORE(DocumentReference, category),
    TAKE(DocumentReference, date, SLOT_T0),
    IGNORE(DocumentReference, author),
    IGNORE(DocumentReference, authenticator),
    IGNORE(DocumentReference, custodian),
    IGNORE(DocumentReference, relatesTo),
    DROP(DocumentReference, description),
    IGNORE(DocumentReference, securityLabel),
    TAKE(DocumentReference, content, SLOT_A),
    TAKE(DocumentReference, context, SLOT_C),
};
static struct lookup imaging_names;
static const struct element imaging_elements[] = {
    SUBJECT(ImagingStudy),
    DROP(ImagingStudy, contained),
    TAKE(ImagingStudy, status, SLOT_STATUS),
    TAKE(ImagingStudy, modality, SLOT_A),
    TAKE(ImagingStudy, started, SLOT_T0),
    IGNORE(ImagingStudy, basedOn),
    IGNORE(ImagingStudy, referrer),
    IGNORE(ImagingStudy, interpreter),
    IGNORE(ImagingStudy, endpoint),
    IGNORE(ImagingStudy, numberOfSeries),
    IGNORE(ImagingStudy, numberOfInstances),
    IGNORE(ImagingStudy, procedureReference),
    TAKE(ImagingStudy, procedureCode, SLOT_CODE),
    IGNORE(ImagingStudy, location),
    DROP(ImagingStudy, reasonCode),
    IGNORE(ImagingStudy, reasonReference),
    DROP(ImagingStudy, description),
    TAKE(ImagingStudy, series, SLOT_B),
};
static struct lookup device_names;
static const struct element device_elements[] = {
    RESOURCE(Device),
    DROP(Device, extension),
    DROP(Device, contained),
    TAKE(Device, patient, SLOT_SUBJECT),
    TAKE(Device, udiCarrier, SLOT_A),
    TAKE(Device, distinctIdentifier, SLOT_B),
    TAKE(Device, serialNumber, SLOT_C),
    TAKE(Device, lotNumber, SLOT_D),
    IGNORE(Device, definition),
    IGNORE(Device, status),
    IGNORE(Device, statusReason),
    IGNORE(Device, manufacturer),
    DROP(Device, manufactureDate),
    DROP(Device, expirationDate),
    DROP(Device, deviceName),
    DROP(Device, modelNumber),
    DROP(Device, partNumber),
    DROP(Device, type),
    DROP(Device, specialization),
    DROP(Device, version),
    DROP(Device, property),
    IGNORE(Device, owner),
    DROP(Device, contact),
    IGNORE(Device, location),
    DROP(Device, url),
    DROP(Device, note),
    IGNORE(Device, safety),
    IGNORE(Device, parent),
};

/* Data types. Paths here are unused except through the resource that holds them. */
#define V(name, slot) \
  { #name, sizeof #name - 1, slot, "" }
static struct lookup coding_names;
static const struct element coding_elements[] = {V(system, SLOT_A),       V(code, SLOT_CODE), V(display, SLOT_B),
                                                 V(version, SLOT_IGNORE), V(id, SLOT_IGNORE), V(userSelected, SLOT_IGNORE)};
static struct lookup concept_names;
static const struct element concept_elements[] = {V(coding, SLOT_A), V(text, SLOT_B), V(id, SLOT_IGNORE)};
static struct lookup quantity_names;
static const struct element quantity_elements[] = {V(value, SLOT_A),   V(unit, SLOT_B),       V(system, SLOT_C),
                                                   V(code, SLOT_CODE), V(comparator, SLOT_D), V(id, SLOT_IGNORE)};
static struct lookup reference_names;
static const struct element reference_elements[] = {V(reference, SLOT_A), V(display, SLOT_B), V(type, SLOT_IGNORE),
                                                    V(identifier, SLOT_IDENTIFIER), V(id, SLOT_IGNORE)};
static struct lookup period_names;
static const struct element period_elements[] = {V(start, SLOT_A), V(end, SLOT_B), V(id, SLOT_IGNORE)};
static struct lookup name_names;
static const struct element name_elements[] = {V(family, SLOT_A),      V(given, SLOT_B),       V(text, SLOT_C),        V(use, SLOT_IGNORE),
                                               V(prefix, SLOT_IGNORE), V(suffix, SLOT_IGNORE), V(period, SLOT_IGNORE), V(id, SLOT_IGNORE)};
static struct lookup address_names;
static const struct element address_elements[] = {
    V(line, SLOT_A),  V(city, SLOT_B),     V(district, SLOT_C),  V(postalCode, SLOT_CODE), V(country, SLOT_D), V(text, SLOT_E),
    V(state, SLOT_F), V(use, SLOT_IGNORE), V(type, SLOT_IGNORE), V(period, SLOT_IGNORE),   V(id, SLOT_IGNORE), V(extension, SLOT_G)};
static struct lookup telecom_names;
static const struct element telecom_elements[] = {V(system, SLOT_A),    V(value, SLOT_B),       V(use, SLOT_IGNORE),
                                                  V(rank, SLOT_IGNORE), V(period, SLOT_IGNORE), V(id, SLOT_IGNORE)};
static struct lookup identifier_names;
static const struct element identifier_elements[] = {V(system, SLOT_A),   V(value, SLOT_B),       V(type, SLOT_C),
                                                     V(use, SLOT_IGNORE), V(period, SLOT_IGNORE), V(assigner, SLOT_IGNORE),
                                                     V(id, SLOT_IGNORE)};
static struct lookup attachment_names;
static const struct element attachment_elements[] = {V(contentType, SLOT_A),   V(data, SLOT_B),          V(url, SLOT_C),
                                                     V(language, SLOT_IGNORE), V(size, SLOT_IGNORE),     V(hash, SLOT_IGNORE),
                                                     V(title, SLOT_D),         V(creation, SLOT_IGNORE), V(id, SLOT_IGNORE)};
static struct lookup contact_names;
static const struct element contact_elements[] = {
    V(name, SLOT_A),        V(telecom, SLOT_B),           V(address, SLOT_D),     V(relationship, SLOT_IGNORE),
    V(gender, SLOT_IGNORE), V(organization, SLOT_IGNORE), V(period, SLOT_IGNORE), V(id, SLOT_IGNORE)};
static struct lookup hospitalization_names;
static const struct element hospitalization_elements[] = {TAKE(Encounter.hospitalization, dischargeDisposition, SLOT_A),
                                                          TAKE(Encounter.hospitalization, admitSource, SLOT_B),
                                                          TAKE(Encounter.hospitalization, preAdmissionIdentifier, SLOT_IDENTIFIER),
                                                          IGNORE(Encounter.hospitalization, origin),
                                                          IGNORE(Encounter.hospitalization, destination),
                                                          DROP(Encounter.hospitalization, reAdmission),
                                                          DROP(Encounter.hospitalization, dietPreference),
                                                          DROP(Encounter.hospitalization, specialCourtesy),
                                                          DROP(Encounter.hospitalization, specialArrangement),
                                                          IGNORE(Encounter.hospitalization, id)};
static struct lookup entry_names;
static const struct element entry_elements[] = {V(fullUrl, SLOT_A),     V(resource, SLOT_B),      V(request, SLOT_IGNORE),
                                                V(search, SLOT_IGNORE), V(response, SLOT_IGNORE), V(link, SLOT_IGNORE),
                                                V(id, SLOT_IGNORE)};

#define COUNT(a) (sizeof(a) / sizeof *(a))
/* The unknown path of a data type is its resource's: NULL here. */
#define TYPE(name) \
  { #name, NULL, name##_elements, COUNT(name##_elements), &name##_names, NULL, NULL, NULL, NULL, "", NULL }
const struct shape
    fhir_coding = TYPE(coding),
    fhir_concept = TYPE(concept), fhir_quantity = TYPE(quantity), fhir_reference = TYPE(reference), fhir_period = TYPE(period),
    fhir_name = TYPE(name), fhir_address = TYPE(address), fhir_telecom = TYPE(telecom), fhir_identifier = TYPE(identifier),
    fhir_attachment = TYPE(attachment), fhir_component = TYPE(component), fhir_contact = TYPE(contact),
    fhir_hospitalization = TYPE(hospitalization),
    fhir_entry = {"Bundle.entry", "Bundle.entry.?", entry_elements, COUNT(entry_elements), &entry_names, NULL, NULL, NULL, NULL, "", NULL};
const struct shape fhir_medication = {"Medication",
                                      "Medication.?",
                                      medication_elements,
                                      COUNT(medication_elements),
                                      &medication_names,
                                      NULL,
                                      NULL,
                                      "Medication.code",
                                      NULL,
                                      "",
                                      NULL};

static const char *const not_done[] = {"entered-in-error", "not-done", "preparation", NULL};
static const char *const not_held[] = {"entered-in-error", "cancelled", "planned", NULL};
static const char *const not_so[] = {"entered-in-error", "refuted", NULL};
static const char *const no_result[] = {"entered-in-error", "cancelled", "registered", NULL};
static const char *const not_ordered[] = {"entered-in-error", "cancelled", "draft", NULL};
static const char *const not_taken[] = {"entered-in-error", "not-taken", "intended", NULL};
static const char *const not_dispensed[] = {"entered-in-error", "cancelled", "declined", "preparation", NULL};
static const char *const in_error[] = {"entered-in-error", NULL};

#define CLINICAL(r, table, skip, subject, code, time, suffix, handler)                                                                 \
  {                                                                                                                                    \
#r, #r ".?", table##_elements, COUNT(table##_elements), &table##_names, skip, #r "." #subject, #r "." #code, #r "." #time, suffix, \
        handler                                                                                                                        \
  }
static const struct shape shapes[] = {
    {"Patient", "Patient.?", patient_elements, COUNT(patient_elements), &patient_names, NULL, NULL, NULL, NULL, "", fhir_take_patient},
    {"RelatedPerson", "RelatedPerson.?", related_elements, COUNT(related_elements), &related_names, NULL, "RelatedPerson.patient", NULL,
     NULL, "", fhir_take_related},
    CLINICAL(Observation, observation, no_result, subject, code, effective, "", fhir_take_observation),
    CLINICAL(Encounter, encounter, not_held, subject, class, period, "", fhir_take_encounter),
    CLINICAL(Condition, condition, not_so, subject, code, onset, "", fhir_take_condition),
    CLINICAL(Procedure, procedure, not_done, subject, code, performed, "", fhir_take_plain),
    CLINICAL(MedicationRequest, request, not_ordered, subject, medication, authoredOn, "", fhir_take_medication_use),
    CLINICAL(MedicationAdministration, administration, not_done, subject, medication, effective, "//ADMINISTERED",
             fhir_take_medication_use),
    CLINICAL(MedicationStatement, statement, not_taken, subject, medication, effective, "//REPORTED", fhir_take_medication_use),
    CLINICAL(MedicationDispense, dispense, not_dispensed, subject, medication, whenHandedOver, "//DISPENSED", fhir_take_medication_use),
    CLINICAL(Immunization, immunization, not_done, patient, vaccineCode, occurrence, "", fhir_take_plain),
    CLINICAL(AllergyIntolerance, allergy, not_so, patient, code, onset, "//ALLERGY", fhir_take_plain),
    CLINICAL(DiagnosticReport, report, no_result, subject, code, effective, "", fhir_take_report),
    CLINICAL(DocumentReference, document, in_error, subject, type, date, "", fhir_take_document_reference),
    CLINICAL(ImagingStudy, imaging, no_result, subject, modality, started, "", fhir_take_imaging),
    CLINICAL(Device, device, in_error, patient, type, type, "", fhir_take_device),
};

/* Every R4 resource type that has no shape above: counted under its own name. */
static const char *const others[] = {
    "Account",
    "ActivityDefinition",
    "AdverseEvent",
    "Appointment",
    "AppointmentResponse",
    "AuditEvent",
    "Basic",
    "Binary",
    "BiologicallyDerivedProduct",
    "BodyStructure",
    "Bundle",
    "CapabilityStatement",
    "CarePlan",
    "CareTeam",
    "CatalogEntry",
    "ChargeItem",
    "ChargeItemDefinition",
    "Claim",
    "ClaimResponse",
    "ClinicalImpression",
    "CodeSystem",
    "Communication",
    "CommunicationRequest",
    "CompartmentDefinition",
    "Composition",
    "ConceptMap",
    "Consent",
    "Contract",
    "Coverage",
    "CoverageEligibilityRequest",
    "CoverageEligibilityResponse",
    "DetectedIssue",
    "DeviceDefinition",
    "DeviceMetric",
    "DeviceRequest",
    "DeviceUseStatement",
    "DocumentManifest",
    "EffectEvidenceSynthesis",
    "Endpoint",
    "EnrollmentRequest",
    "EnrollmentResponse",
    "EpisodeOfCare",
    "EventDefinition",
    "Evidence",
    "EvidenceVariable",
    "ExampleScenario",
    "ExplanationOfBenefit",
    "FamilyMemberHistory",
    "Flag",
    "Goal",
    "GraphDefinition",
    "Group",
    "GuidanceResponse",
    "HealthcareService",
    "ImmunizationEvaluation",
    "ImmunizationRecommendation",
    "ImplementationGuide",
    "InsurancePlan",
    "Invoice",
    "Library",
    "Linkage",
    "List",
    "Location",
    "Measure",
    "MeasureReport",
    "Media",
    "Medication",
    "MedicationKnowledge",
    "MedicinalProduct",
    "MedicinalProductAuthorization",
    "MedicinalProductContraindication",
    "MedicinalProductIndication",
    "MedicinalProductIngredient",
    "MedicinalProductInteraction",
    "MedicinalProductManufactured",
    "MedicinalProductPackaged",
    "MedicinalProductPharmaceutical",
    "MedicinalProductUndesirableEffect",
    "MessageDefinition",
    "MessageHeader",
    "MolecularSequence",
    "NamingSystem",
    "NutritionOrder",
    "ObservationDefinition",
    "OperationDefinition",
    "OperationOutcome",
    "Organization",
    "OrganizationAffiliation",
    "Parameters",
    "PaymentNotice",
    "PaymentReconciliation",
    "Person",
    "PlanDefinition",
    "Practitioner",
    "PractitionerRole",
    "Provenance",
    "Questionnaire",
    "QuestionnaireResponse",
    "RequestGroup",
    "ResearchDefinition",
    "ResearchElementDefinition",
    "ResearchStudy",
    "ResearchSubject",
    "RiskAssessment",
    "RiskEvidenceSynthesis",
    "Schedule",
    "SearchParameter",
    "ServiceRequest",
    "Slot",
    "Specimen",
    "SpecimenDefinition",
    "StructureDefinition",
    "StructureMap",
    "Subscription",
    "Substance",
    "SubstanceNucleicAcid",
    "SubstancePolymer",
    "SubstanceProtein",
    "SubstanceReferenceInformation",
    "SubstanceSourceMaterial",
    "SubstanceSpecification",
    "SupplyDelivery",
    "SupplyRequest",
    "Task",
    "TerminologyCapabilities",
    "TestReport",
    "TestScript",
    "ValueSet",
    "VerificationResult",
    "VisionPrescription",
};

/* Rank: which coding of several stands for the concept. The vocabularies that outcomes and labels are written in come first. */
#define V3 "http://terminology.hl7.org/CodeSystem/v3-"
#define V2 "http://terminology.hl7.org/CodeSystem/v2-"
#define THO "http://terminology.hl7.org/CodeSystem/"
static const struct system {
  const char *url, *name;
  int rank;
} systems[] = {
    {"http://loinc.org", "LOINC", 1},
    {"https://loinc.org", "LOINC", 1},
    {"urn:oid:2.16.840.1.113883.6.1", "LOINC", 1},
    {"http://www.nlm.nih.gov/research/umls/rxnorm", "RXNORM", 2},
    {"https://www.nlm.nih.gov/research/umls/rxnorm", "RXNORM", 2},
    {"urn:oid:2.16.840.1.113883.6.88", "RXNORM", 2},
    {"http://hl7.org/fhir/sid/cvx", "CVX", 3},
    {"urn:oid:2.16.840.1.113883.12.292", "CVX", 3},
    {"http://hl7.org/fhir/sid/icd-10-cm", "ICD10CM", 4},
    {"https://hl7.org/fhir/sid/icd-10-cm", "ICD10CM", 4},
    {"urn:oid:2.16.840.1.113883.6.90", "ICD10CM", 4},
    {"http://hl7.org/fhir/sid/icd-10", "ICD10", 5},
    {"urn:oid:2.16.840.1.113883.6.3", "ICD10", 5},
    {"http://fhir.de/CodeSystem/bfarm/icd-10-gm", "ICD10GM", 5},
    {"http://fhir.de/CodeSystem/dimdi/icd-10-gm", "ICD10GM", 5},
    {"http://snomed.info/sct", "SNOMED", 6},
    {"https://snomed.info/sct", "SNOMED", 6},
    {"urn:oid:2.16.840.1.113883.6.96", "SNOMED", 6},
    {"http://www.cms.gov/Medicare/Coding/ICD10", "ICD10PCS", 7},
    {"http://hl7.org/fhir/sid/icd-10-pcs", "ICD10PCS", 7},
    {"urn:oid:2.16.840.1.113883.6.4", "ICD10PCS", 7},
    {"http://www.ama-assn.org/go/cpt", "CPT4", 8},
    {"urn:oid:2.16.840.1.113883.6.12", "CPT4", 8},
    {"https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets", "HCPCS", 9},
    {"http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets", "HCPCS", 9},
    {"urn:oid:2.16.840.1.113883.6.285", "HCPCS", 9},
    {"urn:oid:2.16.840.1.113883.6.14", "HCPCS", 9},
    {"http://hl7.org/fhir/sid/icd-9-cm", "ICD9CM", 10},
    {"http://hl7.org/fhir/sid/icd-9-cm/diagnosis", "ICD9CM", 10},
    {"urn:oid:2.16.840.1.113883.6.103", "ICD9CM", 10},
    {"http://hl7.org/fhir/sid/icd-9-cm/procedure", "ICD9PROC", 10},
    {"urn:oid:2.16.840.1.113883.6.104", "ICD9PROC", 10},
    {"http://www.whocc.no/atc", "ATC", 11},
    {"http://fhir.de/CodeSystem/bfarm/atc", "ATC", 11},
    {"urn:oid:2.16.840.1.113883.6.73", "ATC", 11},
    {"http://hl7.org/fhir/sid/ndc", "NDC", 12},
    {"urn:oid:2.16.840.1.113883.6.69", "NDC", 12},
    {"http://dicom.nema.org/resources/ontology/DCM", "DCM", 13},
    {"urn:oid:1.2.840.10008.2.16.4", "DCM", 13},
    {"http://www.radlex.org", "RADLEX", 14},
    {"http://radlex.org", "RADLEX", 14},
    {"http://www.nlm.nih.gov/research/umls", "UMLS", 15},
    {"urn:oid:2.16.840.1.113883.6.86", "UMLS", 15},
    {"http://unitsofmeasure.org", "UCUM", 15},
    {"urn:oid:2.16.840.1.113883.6.8", "UCUM", 15},
    {"http://www.nubc.org/patient-discharge", "NUBC", 15},
    {"https://www.nubc.org/CodeSystem/PatDischargeStatus", "NUBC", 15},
    {"http://fdasis.nlm.nih.gov", "UNII", 15},
    {"http://human-phenotype-ontology.org", "HPO", 15},
    {"http://www.orpha.net", "ORPHANET", 15},
    {"http://id.who.int/icd/release/11/mms", "ICD11", 5},
    {"http://hl7.org/fhir/sid/icd-o-3", "ICDO3", 10},
    {"http://www.ada.org/cdt", "CDT", 10},
    {"http://hl7.org/fhir/sid/icpc-2", "ICPC2", 10},
    {"http://hl7.org/fhir/sid/mvx", "MVX", 15},
    {"http://va.gov/terminology/medrt", "MEDRT", 15},
    {"http://hl7.org/fhir/ndfrt", "NDFRT", 15},
    {"urn:oid:2.16.840.1.113883.6.238", "CDCREC", 15},
    {"urn:ietf:bcp:47", "BCP47", 15},
    {"urn:ietf:bcp:13", "MIME", 15},
    {"http://nucc.org/provider-taxonomy", "NUCC", 15},
    {"http://www.omim.org", "OMIM", 15},
    {"http://www.genenames.org", "HGNC", 15},
    {"http://varnomen.hgvs.org", "HGVS", 15},
    {"https://www.who.int/classifications/icf", "ICF", 15},
    {"http://hl7.org/fhir/sid/dsm5", "DSM5", 11},
    {"https://www.cms.gov/Medicare/Medicare-Fee-for-Service-Payment/AcuteInpatientPPS/MS-DRG-Classifications-and-Software", "MSDRG", 15},
    {"https://www.nubc.org/CodeSystem/RevenueCodes", "REVENUE", 15},
    {V3 "ActCode", "V3ACTCODE", 16},
    {V3 "MaritalStatus", "V3MARITAL", 16},
    {V3 "NullFlavor", "V3NULL", 18},
    {V3 "ObservationInterpretation", "V3INTERPRETATION", 16},
    {V3 "ActMood", "V3ACTMOOD", 16},
    {V3 "ActPriority", "V3ACTPRIORITY", 16},
    {V3 "ParticipationType", "V3PARTICIPATION", 16},
    {V3 "RouteOfAdministration", "V3ROUTE", 16},
    {V3 "ActSite", "V3ACTSITE", 16},
    {V3 "Race", "V3RACE", 16},
    {V3 "Ethnicity", "V3ETHNICITY", 16},
    {V3 "AdministrativeGender", "V3GENDER", 16},
    {V3 "RoleCode", "V3ROLECODE", 16},
    {V3 "ActReason", "V3ACTREASON", 16},
    {V3 "ObservationValue", "V3OBSVALUE", 16},
    {V3 "ReligiousAffiliation", "V3RELIGION", 16},
    {V3 "substanceAdminSubstitution", "V3SUBSTITUTION", 16},
    {V2 "0001", "V20001", 16},
    {V2 "0002", "V20002", 16},
    {V2 "0004", "V20004", 16},
    {V2 "0007", "V20007", 16},
    {V2 "0023", "V20023", 16},
    {V2 "0074", "V20074", 16},
    {V2 "0078", "V20078", 16},
    {V2 "0112", "V20112", 16},
    {V2 "0203", "V20203", 16},
    {V2 "0131", "V20131", 16},
    {V2 "0092", "V20092", 16},
    {V2 "0116", "V20116", 16},
    {V2 "0136", "V20136", 16},
    {V2 "0276", "V20276", 16},
    {V2 "0487", "V20487", 16},
    {THO "discharge-disposition", "HL7DISCHARGE", 16},
    {THO "admit-source", "HL7ADMIT", 16},
    {THO "encounter-type", "HL7ENCOUNTERTYPE", 16},
    {THO "condition-clinical", "HL7CLINICAL", 16},
    {THO "condition-ver-status", "HL7VERIFICATION", 16},
    {THO "data-absent-reason", "HL7ABSENT", 17},
    {THO "observation-category", "HL7OBSCATEGORY", 16},
    {THO "condition-category", "HL7CONDCATEGORY", 16},
    {THO "referencerange-meaning", "HL7RANGE", 16},
    {"http://hl7.org/fhir/administrative-gender", "HL7GENDER", 16},
    {"http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category", "USCOREDOC", 16},
    {"http://hl7.org/fhir/v3/ActCode", "V3ACTCODE", 16},
    {"http://hl7.org/fhir/v3/MaritalStatus", "V3MARITAL", 16},
    {"http://hl7.org/fhir/v3/NullFlavor", "V3NULL", 18},
    {"http://hl7.org/fhir/v2/0203", "V20203", 16},
};
#define RANK_UNKNOWN 20

/* v2 table 0203 and the system URLs that say of what kind a number is. */
static const struct kind_row {
  const char *name;
  enum identifier_kind kind;
} kinds[] =
    {
        {"MR", IDENTIFIER_MRN},          {"MRT", IDENTIFIER_MRN},        {"PI", IDENTIFIER_MRN},          {"PT", IDENTIFIER_MRN},
        {"PE", IDENTIFIER_MRN},          {"MRN", IDENTIFIER_MRN},        {"SS", IDENTIFIER_SSN},          {"SB", IDENTIFIER_SSN},
        {"SSN", IDENTIFIER_SSN},         {"MB", IDENTIFIER_HEALTH_PLAN}, {"MA", IDENTIFIER_HEALTH_PLAN},  {"MC", IDENTIFIER_HEALTH_PLAN},
        {"HC", IDENTIFIER_HEALTH_PLAN},  {"SN", IDENTIFIER_HEALTH_PLAN}, {"NH", IDENTIFIER_HEALTH_PLAN},  {"NIIP", IDENTIFIER_HEALTH_PLAN},
        {"JHN", IDENTIFIER_HEALTH_PLAN}, {"MI", IDENTIFIER_HEALTH_PLAN}, {"MCR", IDENTIFIER_HEALTH_PLAN}, {"MCD", IDENTIFIER_HEALTH_PLAN},
        {"WC", IDENTIFIER_HEALTH_PLAN},  {"AN", IDENTIFIER_ACCOUNT},     {"ANON", IDENTIFIER_ACCOUNT},    {"ANC", IDENTIFIER_ACCOUNT},
        {"AND", IDENTIFIER_ACCOUNT},     {"ANT", IDENTIFIER_ACCOUNT},    {"BA", IDENTIFIER_ACCOUNT},      {"BC", IDENTIFIER_ACCOUNT},
        {"AM", IDENTIFIER_ACCOUNT},      {"DI", IDENTIFIER_ACCOUNT},     {"DS", IDENTIFIER_ACCOUNT},      {"MS", IDENTIFIER_ACCOUNT},
        {"VS", IDENTIFIER_ACCOUNT},      {"VN", IDENTIFIER_ACCOUNT},     {"GL", IDENTIFIER_ACCOUNT},      {"DL", IDENTIFIER_LICENCE},
        {"MD", IDENTIFIER_LICENCE},      {"LN", IDENTIFIER_LICENCE},     {"RN", IDENTIFIER_LICENCE},      {"DDS", IDENTIFIER_LICENCE},
        {"DN", IDENTIFIER_LICENCE},      {"DP", IDENTIFIER_LICENCE},     {"DEA", IDENTIFIER_LICENCE},     {"NP", IDENTIFIER_LICENCE},
        {"PA", IDENTIFIER_LICENCE},      {"OD", IDENTIFIER_LICENCE},     {"QA", IDENTIFIER_LICENCE},      {"SL", IDENTIFIER_LICENCE},
        {"PC", IDENTIFIER_LICENCE},      {"CZ", IDENTIFIER_LICENCE},     {"DR", IDENTIFIER_LICENCE},      {"BCT", IDENTIFIER_LICENCE},
        {"SNO", IDENTIFIER_DEVICE},      {"UDI", IDENTIFIER_DEVICE},     {"SER", IDENTIFIER_DEVICE},      {"ANI", IDENTIFIER_OTHER},
},
  kind_systems[] = {
      {"http://hl7.org/fhir/sid/us-ssn", IDENTIFIER_SSN},
      {"urn:oid:2.16.840.1.113883.4.1", IDENTIFIER_SSN},
      {"http://hl7.org/fhir/sid/us-medicare", IDENTIFIER_HEALTH_PLAN},
      {"http://hl7.org/fhir/sid/us-mbi", IDENTIFIER_HEALTH_PLAN},
      {"http://terminology.hl7.org/NamingSystem/cmsMBI", IDENTIFIER_HEALTH_PLAN},
      {"http://fhir.de/sid/gkv/kvid-10", IDENTIFIER_HEALTH_PLAN},
      {"https://fhir.nhs.uk/Id/nhs-number", IDENTIFIER_HEALTH_PLAN},
      {"urn:oid:2.16.840.1.113883.4.572", IDENTIFIER_HEALTH_PLAN},
      {"urn:oid:2.16.840.1.113883.4.3.25", IDENTIFIER_LICENCE},
      {"http://hl7.org/fhir/sid/us-npi", IDENTIFIER_LICENCE},
      {"http://hospital.smarthealthit.org", IDENTIFIER_MRN},
      {"urn:ietf:rfc:3986", IDENTIFIER_OTHER},
};

static uint8_t type_rows[512]; /* shapes, then others */
static uint8_t system_rows[512];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static inline uint64_t word(const char *p, size_t n) { /* fewer than 8 bytes, each of them in it; no call for it */
  uint32_t a = 0, b = 0;
  if (n >= 4) {
    memcpy(&a, p, 4), memcpy(&b, p + n - 4, 4);
  } else if (n) {
    a = (uint32_t)(unsigned char)p[0] | (uint32_t)(unsigned char)p[n / 2] << 8 | (uint32_t)(unsigned char)p[n - 1] << 16;
  }
  return a | (uint64_t)b << 32;
}
static inline void ends(const char *p, size_t n, uint64_t *head, uint64_t *tail) {
  *tail = 0;
  if (n >= 8) {
    memcpy(head, p, 8);
    memcpy(tail, p + n - 8, 8);
  } else {
    *head = word(p, n);
  }
}
static inline bool same(const char *p, const char *q, size_t n) {
  uint64_t a, b, c, d;
  ends(p, n, &a, &b), ends(q, n, &c, &d);
  return a == c && b == d && (n <= 16 || memcmp(p, q, n) == 0);
}
/* Length, first and last eight bytes: enough to tell schema names and URLs apart; a match is always confirmed by all of them. */
static inline uint32_t name_hash(const char *p, size_t n) {
  uint64_t head, tail;
  ends(p, n, &head, &tail);
  uint64_t h = (head ^ (tail * UINT64_C(0x9E3779B97F4A7C15)) ^ n) * UINT64_C(0xD6E8FEB86659FD93);
  return (uint32_t)(h >> 40);
}

static void put_row(uint8_t *rows, uint32_t slots, const char *name, size_t index) {
  uint32_t at = name_hash(name, strlen(name)) & (slots - 1);
  while (rows[at]) at = (at + 1) & (slots - 1);
  BUG_IF(index + 1 > UINT8_MAX);
  rows[at] = (uint8_t)(index + 1);
}

static void build_elements(const struct shape *s) {
  BUG_IF(s->n > LOOKUP_SLOTS / 2);
  for (size_t i = 0; i < s->n; i++) put_row(s->names->row, LOOKUP_SLOTS, s->elements[i].name, i);
}

static void build(void) {
  static const struct shape *const types[] = {&fhir_coding,    &fhir_concept, &fhir_quantity,        &fhir_reference,  &fhir_period,
                                              &fhir_name,      &fhir_address, &fhir_telecom,         &fhir_identifier, &fhir_attachment,
                                              &fhir_component, &fhir_contact, &fhir_hospitalization, &fhir_entry,      &fhir_medication};
  for (size_t i = 0; i < COUNT(types); i++) build_elements(types[i]);
  for (size_t i = 0; i < COUNT(shapes); i++) {
    build_elements(&shapes[i]);
    put_row(type_rows, sizeof type_rows, shapes[i].name, i);
  }
  for (size_t i = 0; i < COUNT(others); i++) put_row(type_rows, sizeof type_rows, others[i], COUNT(shapes) + i);
  for (size_t i = 0; i < COUNT(systems); i++) put_row(system_rows, sizeof system_rows, systems[i].url, i);
}

void fhir_schema_ready(void) { BUG_IF(pthread_once(&once, build) != 0); }

const struct element *fhir_element(const struct shape *shape, struct str name) {
  const uint8_t *rows = shape->names->row;
  for (uint32_t at = name_hash(name.p, name.n) & (LOOKUP_SLOTS - 1); rows[at]; at = (at + 1) & (LOOKUP_SLOTS - 1)) {
    const struct element *el = &shape->elements[rows[at] - 1];
    if (el->length == name.n && same(el->name, name.p, name.n)) return el;
  }
  return NULL;
}

const struct shape *fhir_shape(struct str type, const char **path) {
  uint32_t mask = sizeof type_rows - 1;
  for (uint32_t at = name_hash(type.p, type.n) & mask; type_rows[at]; at = (at + 1) & mask) {
    size_t row = type_rows[at] - 1u;
    if (row < COUNT(shapes)) {
      if (str_eqc(type, shapes[row].name)) return &shapes[row];
    } else if (str_eqc(type, others[row - COUNT(shapes)])) {
      *path = others[row - COUNT(shapes)];
      return NULL;
    }
  }
  *path = "Resource.?";
  return NULL;
}

struct str fhir_system(struct str url, char room[16], int *rank) {
  *rank = RANK_UNKNOWN;
  if (!url.p || !url.n) {
    *rank = RANK_UNKNOWN + 1;
    return STR("LOCAL");
  }
  struct str key = url;
  if (key.p[key.n - 1] == '/') key.n--;
  uint32_t mask = sizeof system_rows - 1;
  for (uint32_t at = name_hash(key.p, key.n) & mask; system_rows[at]; at = (at + 1) & mask) {
    const struct system *s = &systems[system_rows[at] - 1];
    if (str_eqc(key, s->url)) {
      *rank = s->rank;
      return str_c(s->name);
    }
  }
  static const char hex[] = "0123456789abcdef";
  uint64_t h = hash64(url.p, url.n, 0);
  memcpy(room, "URL", 3);
  for (int i = 0; i < 8; i++) room[3 + i] = hex[h >> (60 - 4 * i) & 15];
  return (struct str){room, 11};
}

enum identifier_kind fhir_identifier_kind(struct str type, struct str system) {
  for (size_t i = 0; type.p && i < COUNT(kinds); i++)
    if (str_eqc(type, kinds[i].name)) return kinds[i].kind;
  for (size_t i = 0; system.p && i < COUNT(kind_systems); i++)
    if (str_eqc(system, kind_systems[i].name)) return kind_systems[i].kind;
  return IDENTIFIER_OTHER;
}
