/* The wall: record -> event. Policy, pseudonyms, date shift, ages, geography, text, manifest.
 *
 *     struct vault *v;   TRY(vault_open("site/vault", &v, e));                     // decrypts the identity map
 *     struct deid_policy pol;  TRY(deid_policy_load("policy/expert.json", &pol, e));
 *     struct deid *wall; TRY(deid_open(&pol, v, "fhir", events_out, &wall, e));
 *     … readers call deid_take(wall, record, e) for every record …
 *     TRY(deid_finish(wall, e));              // emits births (known only now: ages over 89 are capped), closes the counts
 *     TRY(vault_commit(v, e));                // encrypted, atomic; BEFORE the store's pointer moves
 *     deid_manifest(wall, &json);             // what was removed, by identifier kind and path: counts only, no values
 *     deid_close(wall);
 *
 * Deny by default: a record's code, number and time pass, transformed by the policy; identifiers, free text and unknown
 * elements do not. See docs/deid.md for the rules and their sources (45 CFR 164.514).
 */
#ifndef DEID_DEID_H
#define DEID_DEID_H
#include "base/error.h"
#include "base/str.h"

struct record;
struct event_sink;
struct json_out;

enum deid_dates { DEID_DATES_YEAR, DEID_DATES_SHIFT, DEID_DATES_KEEP };
enum deid_text { DEID_TEXT_DROP, DEID_TEXT_TAG, DEID_TEXT_SURROGATE };
struct deid_policy { /* read from policy/NAME.json; `hash` (SHA-256 over the file and the tables it names) is stamped on every output */
  char name[32];     /* "safe-harbor", "expert", "limited" */
  char hash[65];
  char settings[65];   /* SHA-256 over what a site's timelines must all have come under (docs/deid.md, "Policies") */
  char statement[256]; /* what may be said of the output, e.g. "limited data set under a data use agreement" */
  enum deid_dates dates;
  int shift_days_max; /* shift is uniform over whole microsecond-exact days in [-max, -1] u [1, max] (never 0) */
  int age_cap;        /* 89: ages above become 90; 0 = ages are not capped */
  bool keep_zip3;     /* emit ZIP3//nnn where the prefix may be kept */
  bool random_pseudonyms;
  char zip3[1024][4]; /* prefixes that must become 000 (restricted and unlisted ones), from the table named in the policy */
  int zip3_n;
  char zip3_country[8][16]; /* country spellings, upper case, that mean a US address */
  int zip3_country_n;
  int32_t sentinel[8]; /* days since 1970 of dates that stand for "unknown" */
  int sentinel_n;
  int display_persons;      /* a code's description from outside passes once this many persons had the very same one (1..8) */
  bool keep_genomes;        /* "genomes": "keep"; absent or "refuse": none passes (docs/deid.md) */
  char genome_fields[4096]; /* table of what may stay in a VCF file; empty = the one beside the program */
  char dicom_path[4096];    /* the policy itself, where it has a "dicom" object (dicom_profile.h); empty: no image passes */
  char codes_path[4096];    /* table of code systems and their shapes; read by deid_open, which checks it against codes_hash */
  char codes_hash[65];
  enum deid_text text;  /* what becomes of free text; a policy that does not say drops it */
  char text_path[4096]; /* the configuration of the text scrubber; `hash` covers it and all that it names */
  char text_hash[65];
  bool suppress;         /* "risk": what would single persons out is held back when the store is released (docs/deid.md, "Suppression") */
  bool suppress_classes; /* also classes of persons within the store */
  int suppress_k, suppress_codes; /* codes: how many somebody may know of a person, 1 or 2 */
  bool suppress_with_attributes;  /* and age band, sex, ZIP3 beside them */
  char risk_path[4096];           /* its table; part of `hash` */
};
int deid_policy_load(const char *path, struct deid_policy *out, struct error *e) MUST_CHECK;

/* The vault: (source, person key) -> pseudonym, date shift, birth, last event; encrypted at rest (libsodium secretstream,
 * key file 0600 or passphrase by Argon2id), written atomically, separable from the site. Random secrets only: nothing in it
 * is a function of a person's data, so known (date, shifted date) pairs of some persons reveal nothing of others. */
struct vault;
int vault_create(const char *dir, const char *passphrase /* NULL = key file */, struct error *e) MUST_CHECK;
int vault_open(const char *dir, const char *passphrase, struct vault **out, struct error *e) MUST_CHECK; /* takes a lock; E_BUSY */
int vault_open_memory(struct vault **out,
                      struct error *e) MUST_CHECK; /* for one request: nothing is stored, nothing identified outlives vault_close */
int vault_commit(struct vault *v, struct error *e) MUST_CHECK;
void vault_close(struct vault *v); /* wipes */
uint64_t vault_persons(const struct vault *v);
/* The pseudonym of a person whom the vault knows; E_NOTFOUND otherwise. */
int vault_find(const struct vault *v, const char *source, struct str person, int64_t *pseudonym, struct error *e) MUST_CHECK;
/* Erasure of one person (GDPR Art. 17): key, dates and shift are overwritten, and gone from disk after the next commit. The
 * pseudonym is handed back so that the caller can remove that subject from the stores. E_NOTFOUND if unknown. */
int vault_erase(struct vault *v, const char *source, struct str person, int64_t *pseudonym, struct error *e) MUST_CHECK;

/* A person's identifiers from every source, kept in the vault alone (encrypted): for links between sources, for scrubbing the person's
 * texts, and for the audit that looks for them afterwards. The same (kind, ns, value) twice is one. */
struct vault_identifier {
  int kind; /* enum identifier_kind */
  struct str ns, value;
};
/* Learns from one RECORD_IDENTIFIER / RECORD_BIRTH record (others are ignored); makes the person if need be. Persons are linked when the
 * identifier's namespace is one that vault_link_namespaces was told to trust and the value is already somebody's. Two persons who both
 * have events already are never merged: the conflict is counted. Fits record_sink.record through deid_learn. */
int vault_learn(struct vault *v, const char *source, const struct record *r, struct error *e) MUST_CHECK;
int vault_link_namespaces(struct vault *v, const struct str *ns, int n, struct error *e) MUST_CHECK;
/* Says that two keys are the same person: an identity table's row. E_MISMATCH if both have events already. */
int vault_link(struct vault *v, const char *source_a, struct str person_a, const char *source_b, struct str person_b,
               struct error *e) MUST_CHECK;
/* More of what the site trusts (identity.json), each before the first record. An alias makes another name stand for a trusted name space:
 * an identifier's own ns, or a source's name, whose keys are then values of that name space. Values that never link are fillers such as
 * UNKNOWN. Two keys of one source are linked by identifiers only after vault_link_within_source(v, true). */
int vault_link_alias(struct vault *v, struct str name, struct str ns, struct error *e) MUST_CHECK;
int vault_link_never(struct vault *v, struct str value, struct error *e) MUST_CHECK;
void vault_link_within_source(struct vault *v, bool yes);
struct vault_links { /* what linking did since the vault was opened: for reports, without values */
  uint64_t linked, conflicts;
  uint64_t births_differ; /* linked all the same, but born in different years: a number that was given twice? */
  uint64_t unkept;        /* identifiers too long, or too many of one person */
  struct {
    struct str source, other;
    const char *why;
    uint64_t n;
  } conflict[64];
  int conflict_n;
};
void vault_link_counts(const struct vault *v, struct vault_links *out);

/* All identifiers of a pseudonym / of everybody; strings are valid until the vault changes. The person's keys come too, as
 * IDENTIFIER_OTHER with the source as ns; whether a value is long enough to be looked for is the caller's to say. */
int vault_identifiers(const struct vault *v, int64_t pseudonym, int (*each)(void *ctx, const struct vault_identifier *id, struct error *e),
                      void *ctx, struct error *e) MUST_CHECK;
int vault_all_identifiers(const struct vault *v,
                          int (*each)(void *ctx, int64_t pseudonym, const struct vault_identifier *id, struct error *e), void *ctx,
                          struct error *e) MUST_CHECK;
/* 32 secret bytes of the person for `purpose` ("surrogates", "dicom-uid"), the same as long as the vault lives, also after a rotation
 * of its key; E_NOTFOUND. Pseudonym 0: of the vault as a whole. */
int vault_secret(const struct vault *v, int64_t pseudonym, const char *purpose, uint8_t out[32], struct error *e) MUST_CHECK;

bool vault_emitted(const struct vault *v, int64_t pseudonym); /* events of this person have passed: it is a subject of the stores */
/* The person's date shift, drawn within `max` days if there is none yet (*drawn: commit the vault before anything shows it). E_NOTFOUND. */
int vault_person_shift(struct vault *v, int64_t pseudonym, int max, int32_t *days, bool *drawn, struct error *e) MUST_CHECK;

/* Erases the person of a pseudonym as vault_erase does, under all keys; unless it `may_return`, keyed hashes of the keys and of
 * the trusted identifiers stay, so that no later ingest brings the person back, from whichever source. E_NOTFOUND. */
int vault_forget(struct vault *v, int64_t pseudonym, bool may_return, struct error *e) MUST_CHECK;
/* A new key file, or a passphrase from now on (NULL = key file). Stores the vault; a crash leaves the old key and map or the new ones. */
int vault_rotate(struct vault *v, const char *passphrase, struct error *e) MUST_CHECK;
bool vault_uses_passphrase(const char *dir); /* false also if there is no vault */
struct vault_person_key {
  struct str source, key;
  int64_t pseudonym;
  int32_t shift_days; /* 0 = not drawn */
  bool has_events;
};
/* Every key of every person. Strings are valid until the vault changes. */
int vault_persons_each(const struct vault *v, int (*each)(void *ctx, const struct vault_person_key *k, struct error *e), void *ctx,
                       struct error *e) MUST_CHECK;
struct vault_counts {
  uint64_t persons, keys, identifiers, linked /* of several keys */, with_events, with_birth, sources, forgotten_keys, memory;
};
void vault_stats(const struct vault *v, struct vault_counts *out);
/* Encrypts and decrypts a file for somebody else, by a passphrase of its own (Argon2id, secretstream): the honest broker's list. */
int vault_seal_file(const char *path, const char *passphrase, struct str text, struct error *e) MUST_CHECK;
int vault_unseal_file(const char *path, const char *passphrase, struct arena *a, struct str *text, struct error *e) MUST_CHECK;

struct deid;
int deid_open(const struct deid_policy *policy, struct vault *vault, const char *source, const struct event_sink *out, struct deid **wall,
              struct error *e) MUST_CHECK;
/* Who opens many walls of one policy (a server: one a request) reads its table of code shapes once. Immutable, may be shared by threads;
 * freed by the caller after the last wall that borrows it. A table that was changed after the policy was read is E_MISMATCH. */
struct code_rules;
int deid_rules_load(const struct deid_policy *policy, struct code_rules **out, struct error *e) MUST_CHECK;
void deid_rules_free(struct code_rules *rules);
int deid_open_shared(const struct deid_policy *policy, const struct code_rules *rules, struct vault *vault, const char *source,
                     const struct event_sink *out, struct deid **wall, struct error *e) MUST_CHECK;
/* Takes one record; emits zero or more events. The signature fits record_sink.record. */
int deid_take(void *wall, const struct record *r, struct error *e);
/* The pass before: learns identifiers and births, emits nothing. Same signature. */
int deid_learn(void *wall, const struct record *r, struct error *e);
int deid_finish(struct deid *wall, struct error *e) MUST_CHECK;
/* Writes one JSON object: policy name and hash, persons, events out, removed counts by identifier kind (18 + free text), by
 * transformation (shifted, truncated, capped, generalised, dropped), unknown elements by path with counts. No values. */
void deid_manifest(const struct deid *wall, struct json_out *o);
struct deid_counts {
  uint64_t records, events, removed[32]; /* by enum identifier_kind */
  uint64_t dates_changed, ages_capped, zips_kept, zips_cleared, text_dropped, elements_dropped, persons;
  uint64_t objects, genomes;              /* images and genomes that became blobs; genomes among them */
  uint64_t genome_records, genome_fields; /* dropped inside those genomes */
  uint64_t objects_refused;               /* by the policy */
  uint64_t linked, link_conflicts;        /* keys that became one person's; persons who share a trusted identifier and stay two */
  uint64_t taken_back;                    /* corrections handed to the sink: events of a code and time that are not to stay */
  uint64_t codes_dropped, units_dropped, displays_held, times_dropped,
      own_identifiers; /* parts of elements_dropped, but for units and displays */
};
void deid_counts(const struct deid *wall, struct deid_counts *out);
const char *deid_genome_statement(void);    /* what every report says where a genome passed */
const char *deid_identifier_name(int kind); /* "names", "geography", … for reports */
void deid_close(struct deid *wall);
#endif
