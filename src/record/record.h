/* The IDENTIFIED zone. Readers turn a hospital's files into struct records, streaming; only deid, serve and cli may include this.
 *
 *     struct record_sink sink = {.ctx = wall, .record = deid_take, .reject = quarantine_take, .progress = show};
 *     TRY(fhir_read(&options, "export/", &sink, &stats, e));
 *
 * A reader never interprets policy: it says what a piece of data IS (an event, a birth date, an identifier of a kind, free
 * text) and the wall decides what becomes of it. Elements that a reader does not know are reported as DROPPED (counted by
 * path, never their value): deny by default. All pointers in a record are valid only during the callback.
 */
#ifndef RECORD_RECORD_H
#define RECORD_RECORD_H
#include <math.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "base/time.h"

enum record_kind {
  RECORD_EVENT,      /* something that happened: code, time, value … */
  RECORD_BIRTH,      /* time = birth date, with its precision */
  RECORD_DEATH,      /* time may be absent (deceasedBoolean) */
  RECORD_IDENTIFIER, /* identifier + text: name, phone, MRN …: for the vault and the count, never for a timeline */
  RECORD_DROPPED,    /* an element that the reader saw and did not take; `path` says which */
  RECORD_TAKEN_BACK, /* the source takes back what it said of this person before this: events of exactly this code and time */
  RECORD_IN_ERROR,   /* likewise of what it said in an export before this one: within one, the order says nothing */
  RECORD_SAME        /* the source itself says that `text`, another of its own person keys, is this person (HL7 v2 merge) */
};

/* The 18 identifier kinds of 45 CFR 164.514(b)(2)(i), A..R, in that order, plus relatives as their own row. */
enum identifier_kind {
  IDENTIFIER_NAME,
  IDENTIFIER_GEOGRAPHY,
  IDENTIFIER_DATE,
  IDENTIFIER_PHONE,
  IDENTIFIER_FAX,
  IDENTIFIER_EMAIL,
  IDENTIFIER_SSN,
  IDENTIFIER_MRN,
  IDENTIFIER_HEALTH_PLAN,
  IDENTIFIER_ACCOUNT,
  IDENTIFIER_LICENCE,
  IDENTIFIER_VEHICLE,
  IDENTIFIER_DEVICE,
  IDENTIFIER_URL,
  IDENTIFIER_IP,
  IDENTIFIER_BIOMETRIC,
  IDENTIFIER_PHOTO,
  IDENTIFIER_OTHER,
  IDENTIFIER_FREE_TEXT,
  IDENTIFIER_KINDS
};

struct record_time {
  int64_t us; /* local wall-clock microseconds; TIME_STATIC if none */
  enum time_precision precision;
  bool has_offset;
  int offset_minutes;
};

/* Something large that belongs to an event: the file as it came, identified. The wall cleans it (deid/dicom_*, deid/vcf_*) and hands on
 * a blob; without a cleaner it is dropped and counted. */
enum record_object_kind { OBJECT_DICOM, OBJECT_GENOME };
struct record_object {
  enum record_object_kind kind;
  const char *path;     /* the source file; NULL if only bytes */
  const uint8_t *bytes; /* the whole of it, or NULL when it is to be streamed from path */
  size_t n;
  const char *member; /* OBJECT_GENOME: the sample's column name */
};

struct record {
  enum record_kind kind;
  struct str person;  /* the source's own key of the person, e.g. "Patient/123": the vault maps (source, person) to a pseudonym */
  struct str code;    /* "SYSTEM//CODE", e.g. "LOINC//2160-0"; answers and states are further "//" parts */
  struct str display; /* the code's description from a Coding.display or dictionary table; not free text */
  struct record_time time;
  double value;    /* NaN = none; else record_number() */
  struct str unit; /* UCUM where the source has it */
  struct str text; /* free text; or, for RECORD_IDENTIFIER, the identifier itself */
  enum identifier_kind identifier;
  struct str ns; /* RECORD_IDENTIFIER: who issued it, e.g. Identifier.system or DICOM's issuer; STR_NONE if the source does not say */
  const struct record_object *object; /* NULL: none */
  struct str postcode, country;       /* with IDENTIFIER_GEOGRAPHY: the wall may keep 3 digits of a US code */
  const char *path;                   /* element path in the schema's words ("Patient.address.line"); a literal or interned string */
  uint32_t file;                      /* index into the run's list of source files */
  uint64_t row;                       /* 1-based line, row or resource number */
};

/* Events hold numbers as floats: what is none as a float is a bad number, as 1e400 is. */
static inline bool record_number(double v) { return isfinite((float)v); }

/* Why a record was not taken. Never holds a value. */
struct record_reject {
  const char *file;
  uint64_t row;
  const char *field;  /* schema path, "" for the whole record */
  const char *reason; /* one of our own sentences */
};

struct record_sink {
  void *ctx;
  int (*record)(void *ctx, const struct record *r, struct error *e);      /* < 0 stops the run */
  void (*reject)(void *ctx, const struct record_reject *r);               /* bad record: quarantined and counted, reading goes on */
  void (*progress)(void *ctx, uint64_t bytes_done, uint64_t bytes_total); /* may be NULL; called between records */
  void (*file)(void *ctx, uint32_t index, const char *path);              /* a source file begins; may be NULL */
};

struct record_stats {
  uint64_t files, bytes, resources, records, rejected, dropped;
};

/* FHIR R4: Bundle JSON (whole document), NDJSON (one resource a line), plain or gzip; a file or a directory.
 * fhir_read streams: memory is bounded by the largest single resource line or bundle. */
struct fhir_options {
  size_t line_limit; /* largest resource line or bundle taken; default 64 MiB */
  bool
      identities; /* only what tells who persons are: of all resources Patient and RelatedPerson alone, and lines of others are hardly looked at */
};
int fhir_read(const struct fhir_options *o, const char *path, const struct record_sink *sink, struct record_stats *stats,
              struct error *e) MUST_CHECK;
/* One document in memory (a request body): Bundle or single resource. Pure: no I/O. `name` stands in for the file in rejects. */
struct json_parser;
int fhir_parse(struct json_parser *jp, const char *bytes, size_t n, size_t cap, uint32_t file, uint64_t row, const char *name,
               const struct record_sink *sink, struct record_stats *stats, struct error *e) MUST_CHECK;
/* Resources that are parsed already, taken as the entries of one Bundle would be; they stay with their parsers. */
struct fhir_parsed {
  struct json resource;
  struct str full_url; /* of its entry; none: STR_NONE */
};
int fhir_take_parsed(const struct fhir_parsed *list, size_t n, uint32_t file, const char *name, const struct record_sink *sink,
                     struct record_stats *stats, struct error *e) MUST_CHECK;
/* A request's own event list: {"subject":"…","birth":"…","events":[{"time":"…","code":"…","value":…,"unit":"…"}]} -> records. */
int events_parse(struct json_parser *jp, const char *bytes, size_t n, size_t cap, const struct record_sink *sink,
                 struct record_stats *stats, struct error *e) MUST_CHECK;

/* CSV by mapping: one reader, a declarative JSON mapping (docs/mapping.md) names files, subject, time, code template, value,
 * unit, text, joins, missing-value spellings and identifiers. `path` = the directory (or single file) of the data set. */
struct table_mapping; /* parsed mapping file */
int table_mapping_load(const char *path, struct table_mapping **out, struct error *e) MUST_CHECK;
void table_mapping_free(struct table_mapping *m);
const char *table_mapping_name(const struct table_mapping *m);
/* Does the mapping name identifiers? Then table_read_identities hands over these and births alone, for a pass before the others. */
bool table_mapping_identifies(const struct table_mapping *m);
int table_read_identities(const struct table_mapping *m, const char *path, const struct record_sink *sink, struct record_stats *stats,
                          struct error *e) MUST_CHECK;
int table_read(const struct table_mapping *m, const char *path, const struct record_sink *sink, struct record_stats *stats,
               struct error *e) MUST_CHECK;

/* MEDS (0.3/0.4 and the old `value` column): Parquet through the optional DuckDB library (E_UNAVAILABLE without it, with a
 * sentence that says how to get it), or CSV with the same columns. `path` = a file or a directory with data/ and metadata/. */
int meds_read(const char *path, const struct record_sink *sink, struct record_stats *stats, struct error *e) MUST_CHECK;

/* VCF (plain, gzip, bgzip) and BCF: a file, or a directory whose *.vcf, *.vcf.gz, *.vcf.bgz, *.bcf are taken. For each sample one
 * RECORD_EVENT "GENOME//VCF" (with "//GRCh38" … where the header tells the assembly), static, person = the sample's name, object = the
 * file; before it the identifiers that the header holds. A file is read once from end to end before any of it is handed on: one that
 * is cut or malformed anywhere is rejected whole. `fields` = policy/vcf-fields.json, which names the assemblies. */
/* Not "vcf_read": htslib exports that name. */
int genome_read(const char *path, const char *fields, const struct record_sink *sink, struct record_stats *stats,
                struct error *e) MUST_CHECK;

/* What a run's source is called in the vault's namespace: "fhir", "meds", or the mapping's name. */
#endif
