/* Identifiers in free text: finding them, replacing them, and looking again.
 *
 *     struct text_scrubber *s;  TRY(text_scrubber_open("policy/text.json", &s, e));   // patterns, lists, tagger: immutable, shared
 *     struct text_work *w;      TRY(text_work_new(s, &w, e));                         // one a thread: scratch of the pattern engines
 *     struct text_person who = {.known = ids, .known_n = n, .shift_days = 12, .dates = policy->dates, .seed = surrogate_seed};
 *     TRY(text_scrub(w, text, &who, TEXT_SURROGATE, &out, e));                        // out.text, out.spans, out.map, out.residual
 *
 * A text is the union of what (a) the person's own identifiers, (b) shaped rules, (c) lists and (d) the tagger find, widened to whole
 * words, with every found name looked for again in the rest of the document; replaced by tags or by surrogates; then scanned again by
 * rules that share nothing with the first ones. out.residual > 0: the caller drops the text and counts it.
 * Offsets are bytes of UTF-8. Pure: no I/O after opening; limits on time and memory for hostile text (E_LIMIT).
 */
#ifndef DEID_TEXT_H
#define DEID_TEXT_H
#include "base/error.h"
#include "base/str.h"
#include "deid/deid.h"

enum text_label {                    /* what a span is; text_label_name gives the tag's word */
                  TEXT_NAME,         /* a person */
                  TEXT_LOCATION,     /* anything smaller than a state, street, city, ZIP, country where the policy says so */
                  TEXT_ORGANISATION, /* hospital, employer, school */
                  TEXT_DATE,
                  TEXT_AGE, /* over 89 only under the shipped policies */
                  TEXT_PHONE,
                  TEXT_FAX,
                  TEXT_EMAIL,
                  TEXT_SSN,
                  TEXT_MRN,
                  TEXT_HEALTH_PLAN,
                  TEXT_ACCOUNT, /* bank, card, bill */
                  TEXT_LICENCE,
                  TEXT_VEHICLE,
                  TEXT_DEVICE,
                  TEXT_URL,
                  TEXT_IP,
                  TEXT_ID, /* any other identifying number or code */
                  TEXT_PROFESSION,
                  TEXT_OTHER,
                  TEXT_LABELS
};
enum text_finder { TEXT_BY_KNOWN = 1, TEXT_BY_RULE = 2, TEXT_BY_LIST = 4, TEXT_BY_TAGGER = 8, TEXT_BY_REPEAT = 16 };
struct text_span {
  uint32_t start, end; /* bytes, half open */
  uint8_t label, by;   /* enum text_label; bits of enum text_finder */
};
struct text_spans { /* grows; free with text_spans_release. Sorted and without overlap once text_find has returned */
  struct text_span *at;
  uint32_t n, cap;
};
int text_spans_add(struct text_spans *s, uint32_t start, uint32_t end, int label, int by, struct error *e) MUST_CHECK;
void text_spans_release(struct text_spans *s);
const char *text_label_name(int label); /* "NAME", "LOCATION" … */
int text_label_kind(int label);         /* enum identifier_kind, for the counts */

struct text_known { /* one identifier of the person, from any source (the vault's) */
  int kind;         /* enum identifier_kind */
  struct str value;
};
struct text_person {
  const struct text_known *known;
  uint32_t known_n;
  enum deid_dates dates;
  int32_t shift_days;  /* with DEID_DATES_SHIFT */
  uint8_t seed[32];    /* secret of the person: surrogates are drawn from it, so they are the same in all the person's documents */
  struct str language; /* "en", "es", STR_NONE = any */
  bool day_first;      /* 03/04/2020 is the third of April */
  bool keep_ages;      /* ages over 89 stay as they are */
};
enum text_mode { TEXT_TAG, TEXT_SURROGATE };
struct text_result {
  struct str text;           /* owned by the work, valid until its next call */
  struct text_spans spans;   /* in the ORIGINAL text; owned by the work */
  const uint32_t *new_start; /* spans.n: where each span's replacement starts in `text` */
  uint32_t residual;         /* what the second scan still found */
  uint32_t label_n[TEXT_LABELS];
  uint32_t finder_n[5]; /* by bit of enum text_finder */
  uint32_t masked;      /* dates that could not be read and became a tag */
};

struct text_scrubber;
struct text_work;
int text_scrubber_open(const char *config, struct text_scrubber **out, struct error *e) MUST_CHECK;
void text_scrubber_close(struct text_scrubber *s);
/* The hash that a scrubber of this configuration would have: reads all files, compiles nothing. */
int text_config_hash(const char *config, char hex[65], struct error *e) MUST_CHECK;
const char *text_scrubber_hash(const struct text_scrubber *s); /* SHA-256 over the configuration and all that it names */
int text_work_new(const struct text_scrubber *s, struct text_work **out, struct error *e) MUST_CHECK;
void text_work_free(struct text_work *w); /* wipes */
/* Only finds. `out` is owned by the work. `who` may be NULL: nobody's identifiers are known. */
int text_find(struct text_work *w, struct str text, const struct text_person *who, struct text_spans *out, struct error *e) MUST_CHECK;
int text_scrub(struct text_work *w, struct str text, const struct text_person *who, enum text_mode mode, struct text_result *out,
               struct error *e) MUST_CHECK;

/* What the vault knows of a person, into `who`: identifiers (at most `most`; their strings in `a`), the birth date among them, and the
 * seed of the surrogates. With DEID_DATES_SHIFT in who->dates the shift too, which is drawn now if the person had none (at most `max`
 * days either way): *drawn, then vault_commit keeps it. The other fields stay. */
int text_person_of(struct vault *v, int64_t pseudonym, int max, struct arena *a, struct text_known *known, uint32_t most,
                   struct text_person *who, bool *drawn, struct error *e) MUST_CHECK;
#endif
