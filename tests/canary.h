/* A FHIR R4 bundle in which every text that could identify is a canary: a distinct word that occurs nowhere else, so that a search
 * for it in whatever comes out downstream (events, store, manifest, logs, model vocabulary) proves that it did not pass.
 *
 *     struct canary c = {0};
 *     canary_bundle(&c, CANARY_VALID_FIRST);       // c.json.p, c.json.n: the document (STREAM_PAD readable bytes after it)
 *     for (int i = 0; i < c.n; i++) assert_false(contains(output, c.word[i].text));     // c.word[i].where says which element
 *     canary_free(&c);
 *
 * Each resource is written from a line of a small language (canary_spec): name = a canary string; name=x a literal; name@ a
 * date; name# a number; name! true; name~ a base64 canary; name&  a canary in a URI; name{…}, name[{…}], name[] nested; name:T and
 * name*T a data type or a list of one of it. Every data type and every resource gets an id and two extensions of canaries too.
 * (implicitRules and modifierExtension are left out: a reader that does not know them must refuse the whole resource.)
 * Codes come in several orders: canary_bundle's second argument. canary_facts are the codes that must still come through.
 * canary_bundle_from(&c, order, 6000) makes a second person, none of whose words are the first one's.
 */
#ifndef TESTS_CANARY_H
#define TESTS_CANARY_H
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"

enum canary_order { CANARY_VALID_FIRST, CANARY_CODE_FIRST, CANARY_SYSTEM_FIRST, CANARY_ONLY, CANARY_ORDERS };
enum { CANARY_WORDS = 6000, CANARY_DEPTH = 24 };

struct canary {
  struct buf json;
  struct {
    char text[28], where[72];
  } word[CANARY_WORDS];
  int n;
  enum canary_order order;
  char person[28]; /* the id of the Patient: a canary as well */
  struct json_out o;
  const char *resource;
  int day; /* dates differ from each other */
  int forms;
  int base; /* the number of the first word: another base, another person with other words */
};

/* What must still arrive, or the test would pass with an empty output: one code of each resource (CANARY_VALID_FIRST). */
static const char *const canary_facts[] = {"GENDER//F", "ENCOUNTER//AMB", "SNOMED//44054006",  "LOINC//2160-0",  "SNOMED//73761001",
                                           "RXNORM//314076", "CVX//140",       "SNOMED//300913006", "LOINC//58410-2", "DCM//CT"};

/* The shapes of what people write: words, names, numbers with letters. All hold the same six letters, and a number of their own. */
static inline const char *canary_word(struct canary *c, const char *field) {
  if (c->n == CANARY_WORDS) abort();
  static const char *const form[] = {"Qzvkxj%05d", "QZVKXJ%05d", "qzvkxj-%05d", "Q%05dzvkxj"};
  int i = c->n++;
  snprintf(c->word[i].text, sizeof c->word[i].text, form[c->forms++ % 4], c->base + i);
  snprintf(c->word[i].where, sizeof c->word[i].where, "%s: %s", c->resource, field);
  return c->word[i].text;
}

static inline void canary_value(struct canary *c, const char *field, const char *prefix) {
  char text[96];
  snprintf(text, sizeof text, "%s%s", prefix, canary_word(c, field));
  json_out_c(&c->o, text);
}

static inline void canary_base64(struct canary *c, const char *field) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  char plain[64], text[96];
  int n = snprintf(plain, sizeof plain, "Seen today: %s ", canary_word(c, field)), k = 0;
  while (n % 3) plain[n++] = '.';
  for (int i = 0; i < n; i += 3) {
    unsigned v = (unsigned)plain[i] << 16 | (unsigned)plain[i + 1] << 8 | (unsigned)plain[i + 2];
    for (int b = 18; b >= 0; b -= 6) text[k++] = digits[v >> b & 63];
  }
  json_out_str(&c->o, (struct str){text, (size_t)k});
}

static inline void canary_extensions(struct canary *c) {
  json_out_key(&c->o, "extension");
  json_out_array(&c->o);
  for (int nested = 0; nested < 2; nested++) {
    json_out_object(&c->o);
    json_out_key(&c->o, "url");
    canary_value(c, "extension.url", "http://canary.example/");
    if (nested) {
      json_out_key(&c->o, "extension");
      json_out_array(&c->o);
      json_out_object(&c->o);
      json_kv_c(&c->o, "url", "text");
    }
    json_out_key(&c->o, "valueString");
    canary_value(c, "extension.valueString", "");
    if (nested) {
      json_out_end(&c->o);
      json_out_end(&c->o);
    }
    json_out_end(&c->o);
  }
  json_out_end(&c->o);
}

/* ---- data types ---- */

static const struct canary_type {
  const char *name, *spec;
} canary_types[] = {
    {"Period", "start@,end@"},
    {"Meta", "versionId,lastUpdated@,source&,profile[&],security[{system&,code,display}],tag[{system&,code,display}]"},
    {"Narrative", "status=generated,div"},
    {"Identifier",
     "use=usual,type{coding[{system=http://terminology.hl7.org/CodeSystem/"
     "v2-0203,code=MR,display}],text},system&,value,period:Period,assigner{display,reference}"},
    {"HumanName", "use=official,text,family,given[],prefix[],suffix[],period:Period"},
    {"Address", "use=home,type=both,text,line[],city,district,state,postalCode,country,period:Period"},
    {"ContactPoint", "system=phone,value,use=home,rank#,period:Period"},
    {"Attachment", "contentType=text/plain,language=en,data~,url&,title,creation@,hash~"},
    {"Annotation", "authorString,time@,text"},
    {"Quantity", "value#,comparator=<,unit,system=http://unitsofmeasure.org,code"},
    {"Range", "low:Quantity,high:Quantity"},
    {"Ratio", "numerator:Quantity,denominator:Quantity"},
    {"SampledData", "origin:Quantity,period#,dimensions#,data"},
    {"Timing", "event[@],repeat{boundsPeriod:Period,when[]},code:Concept"},
    {"Dosage",
     "text,patientInstruction,additionalInstruction[:Concept],asNeededCodeableConcept:Concept,site:Concept,route:Concept,method:Concept,"
     "timing:Timing,"
     "doseAndRate[{type:Concept,doseQuantity:Quantity,rateRatio:Ratio}],maxDosePerPeriod:Ratio"},
    {"Contact", "relationship[:Concept],name:HumanName,telecom*ContactPoint,address:Address,gender=male,organization:Other,period:Period"},
    {"Other", "reference,type,identifier:Identifier,display"},
};

static inline void canary_coding(struct canary *c, const char *system, const char *code) {
  json_out_object(&c->o);
  json_out_key(&c->o, "system");
  if (system)
    json_out_c(&c->o, system);
  else
    canary_value(c, "Coding.system", "http://canary.example/");
  json_out_key(&c->o, "version");
  canary_value(c, "Coding.version", "");
  json_out_key(&c->o, "code");
  if (code)
    json_out_c(&c->o, code);
  else
    canary_value(c, "Coding.code", "");
  json_out_key(&c->o, "display");
  canary_value(c, "Coding.display", "");
  canary_extensions(c);
  json_out_end(&c->o);
}

/* system|code: a right coding, one with a canary for a code, one with a canary for a system, in the asked order. */
static inline void canary_concept(struct canary *c, const char *system, const char *code) {
  json_out_object(&c->o);
  json_out_key(&c->o, "coding");
  json_out_array(&c->o);
  for (int i = 0; i < 3; i++) {
    int which = (i + (int)c->order) % 3;
    if (which == 0 && c->order != CANARY_ONLY && system) canary_coding(c, system, code);
    if (which == 1) canary_coding(c, system ? system : "http://snomed.info/sct", NULL);
    if (which == 2) canary_coding(c, NULL, i ? NULL : "12345-6");
  }
  json_out_end(&c->o);
  json_out_key(&c->o, "text");
  canary_value(c, "CodeableConcept.text", "");
  canary_extensions(c);
  json_out_end(&c->o);
}

static inline const char *canary_spec(struct canary *c, const char *s, const char *path);

static inline void canary_date(struct canary *c) {
  char text[40];
  int day = c->day++;
  snprintf(text, sizeof text, "2017-%02d-%02dT%02d:%02d:07+02:00", 1 + day / 28 % 12, 1 + day % 28, day % 24, day % 60);
  json_out_c(&c->o, text);
}

static inline void canary_type_of(struct canary *c, const char *name, const char *path) {
  for (size_t i = 0; i < sizeof canary_types / sizeof *canary_types; i++) {
    if (strcmp(name, canary_types[i].name) != 0) continue;
    json_out_object(&c->o);
    json_out_key(&c->o, "id");
    canary_value(c, "Element.id", "");
    canary_spec(c, canary_types[i].spec, path);
    canary_extensions(c);
    json_out_end(&c->o);
    return;
  }
  if (strcmp(name, "Concept") == 0) {
    canary_concept(c, NULL, NULL);
    return;
  }
  /* Subject: the reference that links to the Patient, its display a canary */
  if (strcmp(name, "Subject") != 0) abort();
  char reference[64];
  snprintf(reference, sizeof reference, "Patient/%s", c->person);
  json_out_object(&c->o);
  json_kv_c(&c->o, "reference", reference);
  json_out_key(&c->o, "display");
  canary_value(c, "Reference.display", "");
  json_out_key(&c->o, "identifier");
  canary_type_of(c, "Identifier", path);
  canary_extensions(c);
  json_out_end(&c->o);
}

/* One value after the element's name; returns the place behind it. */
static inline const char *canary_item(struct canary *c, const char *s, const char *path) {
  char text[160];
  size_t n = 0;
  char kind = *s;
  if (kind == '=' || kind == ':' || kind == '*' || kind == '^') {
    s++;
    while (s[n] && !strchr(",}]", s[n])) n++;
    if (n >= sizeof text) abort();
    memcpy(text, s, n);
    text[n] = 0;
    s += n;
  }
  switch (kind) {
    case '=': json_out_c(&c->o, text); return s;
    case '@': canary_date(c); return s + 1;
    case '#': json_out_f64(&c->o, 3.25); return s + 1;
    case '!': json_out_bool(&c->o, true); return s + 1;
    case '~': canary_base64(c, path); return s + 1;
    case '&': canary_value(c, path, "http://canary.example/"); return s + 1;
    case ':': canary_type_of(c, text, path); return s;
    case '^': { /* name^system|code: a concept of a real system */
      char *bar = strchr(text, '|');
      if (!bar) abort();
      *bar = 0;
      canary_concept(c, text, bar + 1);
      return s;
    }
    case '*':
      json_out_array(&c->o);
      canary_type_of(c, text, path);
      json_out_end(&c->o);
      return s;
    case '{':
      json_out_object(&c->o);
      s = canary_spec(c, s + 1, path) + 1;
      json_out_end(&c->o);
      return s;
    case '[':
      json_out_array(&c->o);
      s = canary_item(c, s + 1, path) + 1;
      json_out_end(&c->o);
      return s;
    default: canary_value(c, path, ""); return s;
  }
}

static inline const char *canary_spec(struct canary *c, const char *s, const char *path) {
  while (*s && *s != '}' && *s != ']') {
    char name[64], where[72];
    size_t n = strcspn(s, "=@#!~&:*^{[,}]");
    if (n >= sizeof name) abort();
    memcpy(name, s, n);
    name[n] = 0;
    json_out_key(&c->o, name);
    snprintf(where, sizeof where, "%.30s.%.40s", path, name);
    s = canary_item(c, s + n, where);
    if (*s == ',') s++;
  }
  return s;
}

/* ---- resources ---- */

static const struct canary_resource {
  const char *type, *spec;
} canary_resources[] = {
    {"Patient",
     "identifier*Identifier,active!,name*HumanName,telecom*ContactPoint,gender=female,birthDate=1931-02-17,deceasedDateTime=2018-11-23T04:"
     "05:06+02:00,"
     "address*Address,maritalStatus^http://terminology.hl7.org/CodeSystem/"
     "v3-MaritalStatus|M,multipleBirthInteger#,photo*Attachment,contact*Contact,"
     "communication[{language:Concept,preferred!}],generalPractitioner*Other,managingOrganization:Other,link[{other:Other,type=refer}],"
     "_birthDate{extension[{url=http://hl7.org/fhir/StructureDefinition/patient-birthTime,valueDateTime@}]}"},
    {"Encounter",
     "identifier*Identifier,status=finished,statusHistory[{status=arrived,period:Period}],class{system=http://terminology.hl7.org/"
     "CodeSystem/v3-ActCode,code=AMB,display},"
     "type[^http://snomed.info/sct|185347001],serviceType:Concept,priority:Concept,subject:Subject,episodeOfCare*Other,basedOn*Other,"
     "participant[{type[:Concept],period:Period,individual:Other}],appointment*Other,period:Period,length:Quantity,reasonCode[^http://"
     "snomed.info/sct|44054006],reasonReference*Other,"
     "diagnosis[{condition:Other,use:Concept,rank#}],account*Other,hospitalization{preAdmissionIdentifier:Identifier,origin:Other,"
     "admitSource:Concept,reAdmission:Concept,dietPreference[:Concept],specialCourtesy[:Concept],destination:Other,dischargeDisposition:"
     "Concept},"
     "location[{location:Other,status=active,physicalType:Concept,period:Period}],serviceProvider:Other,partOf:Other"},
    {"Condition",
     "identifier*Identifier,clinicalStatus:Concept,verificationStatus:Concept,category[:Concept],severity:Concept,code^http://snomed.info/"
     "sct|44054006,"
     "bodySite[:Concept],subject:Subject,encounter:Other,onsetDateTime@,onsetString,abatementDateTime@,recordedDate@,recorder:Other,"
     "asserter:Other,"
     "stage[{summary:Concept,assessment*Other,type:Concept}],evidence[{code[:Concept],detail*Other}],note*Annotation"},
    {"Observation",
     "identifier*Identifier,basedOn*Other,partOf*Other,status=final,category[:Concept],code^http://"
     "loinc.org|2160-0,subject:Subject,focus*Other,encounter:Other,"
     "effectiveDateTime@,issued@,performer*Other,valueQuantity:Quantity,interpretation[:Concept],note*Annotation,bodySite:Concept,method:"
     "Concept,"
     "specimen:Other,device:Other,referenceRange[{low:Quantity,high:Quantity,type:Concept,appliesTo[:Concept],age:Range,text}],hasMember*"
     "Other,derivedFrom*Other,"
     "component[{code^http://loinc.org|8480-6,valueQuantity:Quantity,interpretation[:Concept],referenceRange[{text}]}]"},
    {"Observation",
     "status=final,code^http://loinc.org|72166-2,subject:Subject,effectiveDateTime@,valueCodeableConcept^http://snomed.info/sct|266919005"},
    {"Observation", "status=final,code^http://loinc.org|8302-2,subject:Subject,effectivePeriod:Period,valueString"},
    {"Observation", "status=final,code^http://loinc.org|8462-4,subject:Subject,effectiveDateTime@,valueRatio:Ratio"},
    {"Observation", "status=final,code^http://loinc.org|29463-7,subject:Subject,effectiveInstant@,valueSampledData:SampledData"},
    {"Procedure",
     "identifier*Identifier,instantiatesCanonical[&],instantiatesUri[&],basedOn*Other,partOf*Other,status=completed,statusReason:Concept,"
     "category:Concept,"
     "code^http://snomed.info/sct|73761001,subject:Subject,encounter:Other,performedPeriod:Period,recorder:Other,asserter:Other,"
     "performer[{function:Concept,actor:Other,onBehalfOf:Other}],location:Other,reasonCode[:Concept],reasonReference*Other,bodySite[:"
     "Concept],outcome:Concept,report*Other,"
     "complication[:Concept],followUp[:Concept],note*Annotation,focalDevice[{action:Concept,manipulated:Other}],usedReference*Other,"
     "usedCode[:Concept]"},
    {"MedicationRequest",
     "identifier*Identifier,status=active,statusReason:Concept,intent=order,category[:Concept],priority=routine,reportedBoolean!,"
     "medicationCodeableConcept^http://www.nlm.nih.gov/research/umls/"
     "rxnorm|314076,subject:Subject,encounter:Other,supportingInformation*Other,authoredOn@,requester:Other,"
     "performer:Other,performerType:Concept,recorder:Other,reasonCode[:Concept],reasonReference*Other,groupIdentifier:Identifier,"
     "courseOfTherapyType:Concept,"
     "insurance*Other,note*Annotation,dosageInstruction*Dosage,dispenseRequest{validityPeriod:Period,quantity:Quantity,"
     "expectedSupplyDuration:Quantity,performer:Other},"
     "substitution{allowedCodeableConcept:Concept,reason:Concept},priorPrescription:Other,detectedIssue*Other,eventHistory*Other"},
    {"Immunization",
     "identifier*Identifier,status=completed,statusReason:Concept,vaccineCode^http://hl7.org/fhir/sid/"
     "cvx|140,patient:Subject,encounter:Other,occurrenceDateTime@,recorded@,"
     "primarySource!,reportOrigin:Concept,location:Other,manufacturer:Other,lotNumber,expirationDate=2019-01-01,site:Concept,route:Concept,"
     "doseQuantity:Quantity,"
     "performer[{function:Concept,actor:Other}],note*Annotation,reasonCode[:Concept],reasonReference*Other,isSubpotent!,subpotentReason[:"
     "Concept],"
     "education[{documentType,reference&,publicationDate@,presentationDate@}],programEligibility[:Concept],fundingSource:Concept,"
     "reaction[{date@,detail:Other}],protocolApplied[{series,authority:Other,targetDisease[:Concept],doseNumberString,seriesDosesString}]"},
    {"AllergyIntolerance",
     "identifier*Identifier,clinicalStatus:Concept,verificationStatus:Concept,type=allergy,category[=food],criticality=high,code^http://"
     "snomed.info/sct|300913006,patient:Subject,"
     "encounter:Other,onsetDateTime@,recordedDate@,recorder:Other,asserter:Other,lastOccurrence@,note*Annotation,"
     "reaction[{substance:Concept,manifestation[:Concept],description,onset@,severity=mild,exposureRoute:Concept,note*Annotation}]"},
    {"DiagnosticReport",
     "identifier*Identifier,basedOn*Other,status=final,category[:Concept],code^http://"
     "loinc.org|58410-2,subject:Subject,encounter:Other,effectiveDateTime@,issued@,performer*Other,"
     "resultsInterpreter*Other,specimen*Other,result*Other,imagingStudy*Other,media[{comment,link:Other}],conclusion,conclusionCode[:"
     "Concept],presentedForm*Attachment"},
    {"DocumentReference",
     "masterIdentifier:Identifier,identifier*Identifier,status=current,docStatus=final,type^http://"
     "loinc.org|34117-2,category[:Concept],subject:Subject,date@,author*Other,"
     "authenticator:Other,custodian:Other,relatesTo[{code=appends,target:Other}],description,securityLabel[:Concept],content[{attachment:"
     "Attachment,format{system&,code,display}}],"
     "context{encounter*Other,event[:Concept],period:Period,facilityType:Concept,practiceSetting:Concept,sourcePatientInfo:Other,related*"
     "Other}"},
    {"ImagingStudy",
     "identifier*Identifier,status=available,modality[{system=http://dicom.nema.org/resources/ontology/"
     "DCM,code=CT,display}],subject:Subject,encounter:Other,started@,basedOn*Other,"
     "referrer:Other,interpreter*Other,endpoint*Other,numberOfSeries#,procedureReference:Other,procedureCode[:Concept],location:Other,"
     "reasonCode[:Concept],reasonReference*Other,"
     "note*Annotation,description,series[{uid,number#,modality{system=http://dicom.nema.org/resources/ontology/"
     "DCM,code=CT,display},description,numberOfInstances#,endpoint*Other,"
     "bodySite{system&,code,display},laterality{system&,code,display},specimen*Other,started@,performer[{function:Concept,actor:Other}],"
     "instance[{uid,sopClass{system&,code,display},number#,title}]}]"},
};

static inline void canary_entry(struct canary *c, const struct canary_resource *r) {
  bool patient = strcmp(r->type, "Patient") == 0;
  c->resource = r->type;
  json_out_object(&c->o);
  json_out_key(&c->o, "fullUrl");
  canary_value(c, "entry.fullUrl", "http://canary.example/fhir/");
  json_out_key(&c->o, "resource");
  json_out_object(&c->o);
  json_kv_c(&c->o, "resourceType", r->type);
  json_out_key(&c->o, "id");
  if (patient)
    json_out_c(&c->o, c->person);
  else
    canary_value(c, "id", "");
  json_out_key(&c->o, "meta");
  canary_type_of(c, "Meta", "meta");
  json_out_key(&c->o, "language");
  canary_value(c, "language", "");
  json_out_key(&c->o, "text");
  canary_type_of(c, "Narrative", "text");
  canary_spec(c, r->spec, r->type);
  canary_extensions(c);
  json_out_end(&c->o);
  json_out_key(&c->o, "request");
  json_out_object(&c->o);
  json_kv_c(&c->o, "method", "POST");
  json_out_key(&c->o, "url");
  canary_value(c, "entry.request.url", "");
  json_out_end(&c->o);
  json_out_end(&c->o);
}

static inline void canary_bundle_from(struct canary *c, enum canary_order order, int base) {
  *c = (struct canary){.order = order, .resource = "Bundle", .base = base};
  json_out_init(&c->o, &c->json, false);
  snprintf(c->person, sizeof c->person, "%s", canary_word(c, "Patient.id"));
  json_out_object(&c->o);
  json_kv_c(&c->o, "resourceType", "Bundle");
  json_kv_c(&c->o, "type", "collection");
  json_out_key(&c->o, "id");
  canary_value(c, "Bundle.id", "");
  json_out_key(&c->o, "identifier");
  canary_type_of(c, "Identifier", "Bundle.identifier");
  json_out_key(&c->o, "entry");
  json_out_array(&c->o);
  for (size_t i = 0; i < sizeof canary_resources / sizeof *canary_resources; i++) canary_entry(c, &canary_resources[i]);
  json_out_end(&c->o);
  json_out_end(&c->o);
  if (!buf_reserve(&c->json, STREAM_PAD)) abort();
}

static inline void canary_bundle(struct canary *c, enum canary_order order) { canary_bundle_from(c, order, 0); }

static inline void canary_free(struct canary *c) { buf_release(&c->json); }

/* The first canary found in a text: its index, or -1. Case does not matter. */
static inline int canary_find(const struct canary *c, const char *p, size_t n) {
  for (size_t i = 0; i + 6 <= n; i++) {
    if (strncasecmp(p + i, "zvkxj", 5) != 0) continue; /* the letters that all share */
    for (int k = 0; k < c->n; k++) {
      size_t length = strlen(c->word[k].text), from = i > length ? i - length : 0;
      for (size_t at = from; at <= i && at + length <= n; at++)
        if (strncasecmp(p + at, c->word[k].text, length) == 0) return k;
    }
    return 0; /* a part of one is bad enough */
  }
  return -1;
}
#endif
