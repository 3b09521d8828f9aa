/* The search after the fact: does anything that the site holds still say who somebody is? Every identifier of every person, in its
 * variants, is looked for in whatever bytes the caller hands over (texts, descriptions, reports, models, databases, file names).
 *
 *     struct audit_search *s;  TRY(audit_search_new(&s, e));
 *     TRY(audit_search_words(s, "policy/audit-words.txt", true, e));           // words that are no proof by themselves ("may", "wilson")
 *     TRY(audit_search_vault(s, vault, e));  TRY(audit_search_seal(s, e));  // from here on immutable; the vault may be closed
 *     struct audit_place at = {.where = AUDIT_TEXT, .subject = pseudonym};
 *     TRY(audit_search_scan(s, text, &at, found, ctx, e));                // found(ctx, &hit, e): kind, form, whose, offset; never a value
 *     audit_search_free(s);
 *
 * How it looks. Text becomes a row of letters and digits: case and accents folded, everything else a gap; JSON, HTML and percent escapes
 * are undone. An identifier becomes the same kind of row without gaps, and of that only a 64-bit hash is kept (16 bytes a variant, no
 * text). From each place where a letter or digit run begins, the hash is carried on over small gaps to the end of each further run and
 * looked up (a Bloom filter first). So "123-45-6789" is found in "123 45 6789" and "123456789", "Müller, José" in "JOSE MULLER".
 * In a person's own text, words of five letters and more that no list of words has are also held against the names with one letter left out
 * (so that one letter more, less, another or two changed over are found), and the names against their beginnings and ends ("drsmithers").
 * Not found: misspellings in anybody else's text or with two letters wrong, what is encrypted or packed in ways the caller does not unpack.
 *
 * How it weighs. STRONG: enough to say that an identifier stands there. WEAK: the characters are there, but they could as well be
 * something else: a common name in a description ("Wilson disease"), a number of fewer than seven digits among figures, a word of the
 * list, a value that more than AUDIT_SHARED persons have. In a text or blob that belongs to the very person whose identifier it is,
 * less is needed. The rules are in audit_weigh.c and docs/deid-audit.md.
 *
 * Memory: 16 bytes a variant and 2 to 4 more for the filter; 100,000 persons with ten identifiers each take about 100 MB.
 */
#ifndef DEID_AUDIT_SEARCH_H
#define DEID_AUDIT_SEARCH_H
#include "base/error.h"
#include "base/str.h"

struct vault;
struct vault_identifier;

enum audit_where {
  AUDIT_TEXT,  /* a de-identified free text */
  AUDIT_BLOB,  /* bytes of an image or genome */
  AUDIT_CODE,  /* the name of a code: a number in it is a code more often than an identifier */
  AUDIT_WORDS, /* a description or a unit */
  AUDIT_FILE,  /* reports, models, databases, logs, everything else */
  AUDIT_NAME   /* names of files */
};
struct audit_place {
  enum audit_where where;
  int64_t subject; /* whose text or blob it is (pseudonym); 0 = nobody's in particular */
  bool dates_kept; /* policy "limited": real dates are meant to be there */
  bool surrogates; /* texts carry invented names, which may be somebody else's real one */
};
enum audit_form {
  AUDIT_WHOLE,      /* the identifier as it is */
  AUDIT_DIGITS,     /* the digits of it */
  AUDIT_NAME_PART,  /* one word of a name */
  AUDIT_NAME_PAIR,  /* two words of the name, in either order */
  AUDIT_INITIAL,    /* an initial and another word of the name */
  AUDIT_PLACE_NAME, /* a city, a district */
  AUDIT_ADDRESS,    /* letters and a house number */
  AUDIT_POSTCODE,
  AUDIT_PHONE_LOCAL, /* the last seven digits */
  AUDIT_MAIL_USER,   /* what is before the @ */
  AUDIT_KEY,         /* the source's own key of the person */
  AUDIT_FLOAT,       /* the number as a float32 holds it */
  AUDIT_BIRTH_DAY,
  AUDIT_EVENT_DAY, /* of the first or last event */
  AUDIT_NAME_NEAR, /* in the person's own text: one letter of a name wrong, or something glued to it */
  AUDIT_SHAPE,     /* looks like an identifier; whose is not known */
  AUDIT_FORMS
};
enum audit_weight { AUDIT_NONE, AUDIT_WEAK, AUDIT_STRONG };
struct audit_hit {
  int kind; /* enum identifier_kind */
  enum audit_form form;
  enum audit_weight weight;
  bool own;         /* the place belongs to the person */
  int64_t person;   /* pseudonym; 0 for a shape */
  uint32_t persons; /* how many persons have the very same identifier */
  uint64_t offset;  /* in the bytes given */
  uint32_t length;
};
typedef int audit_found(void *ctx, const struct audit_hit *hit, struct error *e);
enum { AUDIT_SHARED = 20, AUDIT_RARE = 2 };

struct audit_search;
int audit_search_new(struct audit_search **out, struct error *e) MUST_CHECK;
void audit_search_free(struct audit_search *s); /* wipes */
/* Words that are weak alone, one or several a line, # comments, plain or zstd; before the first identifier. `always`: even as a proper noun
 * in the person's own text ("Wilson", "Texas"); otherwise only where they are written as an ordinary word ("reading", not "from Reading"). */
int audit_search_words(struct audit_search *s, const char *path, bool always, struct error *e) MUST_CHECK;
/* One identifier of a person. All of a person's come one after another: pairs of name words are made of them. */
int audit_search_add(struct audit_search *s, int64_t pseudonym, const struct vault_identifier *id, struct error *e) MUST_CHECK;
/* The source's key of a person; days since 1970 (DEID_DAY_NONE = unknown). */
int audit_search_key(struct audit_search *s, int64_t pseudonym, struct str key, struct error *e) MUST_CHECK;
int audit_search_days(struct audit_search *s, int64_t pseudonym, int32_t birth, int32_t first, int32_t last, struct error *e) MUST_CHECK;
/* That person's birth is not looked for among the times of the store: see struct audit_days. */
void audit_search_birth_remade(struct audit_search *s, int64_t pseudonym);
int audit_search_vault(struct audit_search *s, const struct vault *v, struct error *e) MUST_CHECK; /* all of it */
int audit_search_seal(struct audit_search *s, struct error *e) MUST_CHECK;
uint64_t audit_search_variants(const struct audit_search *s);
uint64_t audit_search_persons(const struct audit_search *s);
size_t audit_search_memory(const struct audit_search *s);

/* Hits that begin in [from, to) of the bytes; what is around them is context. Pure. */
int audit_search_range(const struct audit_search *s, struct str bytes, size_t from, size_t to, const struct audit_place *at,
                       audit_found *found, void *ctx, struct error *e) MUST_CHECK;
static inline int MUST_CHECK audit_search_scan(const struct audit_search *s, struct str bytes, const struct audit_place *at,
                                               audit_found *found, void *ctx, struct error *e) {
  return audit_search_range(s, bytes, 0, bytes.n, at, found, ctx, e);
}
/* A number of an event: is it one of the subject's own identifiers (5 digits and more, also as rounded by a float32)? */
bool audit_search_number(const struct audit_search *s, int64_t subject, double value, struct audit_hit *hit);
/* Does this person have the identifier that `hit` found in `bytes`? For codes: a person's number in a code that the person has. */
bool audit_search_owner(const struct audit_search *s, struct str bytes, const struct audit_hit *hit, int64_t subject);
/* The person's unshifted birth day, DEID_DAY_NONE if unknown or not to be looked for. */
int32_t audit_search_birth(const struct audit_search *s, int64_t subject);

/* Shapes, whoever they belong to: telephone, mail, social security, card number with its check digit (in groups), labelled record
 * number; in `prose` also web and IP addresses and card numbers in one piece (elsewhere that may be a pseudonym); full dates (`dates`). Pure. */
struct audit_shapes {
  bool prose, dates;
};
int audit_shapes_scan(struct str bytes, size_t from, size_t to, const struct audit_shapes *which, audit_found *found, void *ctx,
                      struct error *e) MUST_CHECK;
const char *audit_form_name(enum audit_form form);
#endif
