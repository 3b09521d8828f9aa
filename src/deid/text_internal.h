/* Private to deid/text*: tokens and what the lists say of them, the rules' engine, the state of one piece of work.
 *
 * A text goes through: copy with invalid bytes replaced (same length) -> tokens (text_token.c) -> rules (text_rules.c) -> the person's
 * own identifiers (text_known.c) -> facilities, places, names (text_place.c, text_name.c) -> tagger -> union, repeats (text.c) ->
 * replacement (text_replace.c) -> second look (text_residual.c). Each step adds spans; none takes one away.
 */
#ifndef DEID_TEXT_INTERNAL_H
#define DEID_TEXT_INTERNAL_H
#include "base/arena.h"
#include "base/str.h"
#include "deid/text.h"

/* What a list says of a word or of a phrase's words. The names are those of policy/text.json ("as"), in this order. */
enum text_class {
  IN_FIRST = 1u << 0,
  IN_SURNAME = 1u << 1,
  IN_WORD = 1u << 2,     /* an ordinary or a medical word: alone it is no name */
  IN_COMMON = 1u << 3,   /* a word that begins sentences and is never a name there */
  IN_CITY = 1u << 4,     /* any town */
  IN_BIG_CITY = 1u << 5, /* large, and no ordinary word */
  IN_STATE = 1u << 6,
  IN_STATE_CODE = 1u << 7,
  IN_COUNTRY = 1u << 8,
  IN_TITLE = 1u << 9,       /* Dr, Mrs: a name follows */
  IN_CREDENTIAL = 1u << 10, /* MD, RN: a name precedes */
  IN_FACILITY = 1u << 11,   /* a facility by its own name */
  IN_HEAD = 1u << 12,       /* Hospital, Medical Center */
  IN_TAIL = 1u << 13,       /* General, Health, Group: weaker */
  IN_GENERIC = 1u << 14,    /* Cardiology, Outpatient: says what kind of clinic, not which */
  IN_COMPANY = 1u << 15,    /* Inc, LLC */
  IN_EPONYM = 1u << 16,     /* Crohn, Lewy body: a person's name that is a thing */
  IN_THING = 1u << 17,      /* disease, score, sign: what stands before it is an eponym */
  IN_CUE = 1u << 18,        /* named, called: a name follows */
  IN_WEAK_CUE = 1u << 19,   /* patient, mother: a name may follow */
  IN_CARE = 1u << 20,       /* seen, admitted, lives: a place may follow the preposition */
  IN_PLACE_WORD = 1u << 21, /* at, in, from, near */
  IN_MONTH = 1u << 22,
  IN_PARTICLE = 1u << 23,  /* van, de la */
  IN_AREA = 1u << 24,      /* County, Parish */
  IN_SAINT = 1u << 25,     /* St, Saint, Mount */
  IN_SUFFIX = 1u << 26,    /* Jr, III */
  IN_DOING = 1u << 27,     /* was, may, denies: a word before it at the start of a sentence is somebody who does it */
  IN_DOTTED = 1u << 28,    /* an abbreviation that is written with points: nobody's initials */
  IN_PHRASE_ON = 1u << 30, /* is the second word of some phrase */
  IN_PHRASE = 1u << 31     /* a phrase of several words begins with this one; of words: with these */
};

enum shape { SHAPE_LOWER, SHAPE_CAP, SHAPE_UPPER, SHAPE_MIXED, SHAPE_INITIAL, SHAPE_DIGITS, SHAPE_ALNUM, SHAPE_OTHER };
/* What stands between a word and the one before it. */
enum gap {
  GAP_SPACE = 1,
  GAP_LINE = 2,
  GAP_STOP = 4, /* . */
  GAP_COMMA = 8,
  GAP_HYPHEN = 16,
  GAP_POSSESSIVE = 32, /* 's of the word before */
  GAP_AND = 64,        /* & */
  GAP_COLON = 128,
  GAP_BRACKET = 256,
  GAP_END = 512, /* ! ? ; or the text's start */
  GAP_OTHER = 1024
};
struct token {
  uint32_t start, end; /* bytes of the text; a possessive 's is not part of it */
  uint32_t in;         /* bits of enum text_class, phrases' classes included */
  uint16_t gap;        /* before it */
  uint8_t shape;
  uint8_t phrase;   /* words of the longest phrase that begins here; 0 = none */
  uint8_t taken;    /* label + 1 of the span that covers it */
  uint8_t sentence; /* begins one */
  uint8_t inside;   /* is a later word of a phrase */
  uint8_t tail;     /* bytes of the possessive that follows `end` */
  uint64_t hash;    /* of the folded word */
};

/* ---- lists ---- */
struct text_list_slot {
  uint32_t mark, in;
};
struct text_nick {
  uint64_t hash;
  uint32_t group;
};
struct text_lists {
  struct text_list_slot *words, *phrases;
  uint32_t word_mask, phrase_mask, word_n, phrase_n;
  struct str first[512], last[512], towns[256], facilities[64]; /* surrogates; in `arena` */
  uint32_t first_n, last_n, town_n, facility_n;
  struct text_nick *nick; /* sorted by hash */
  uint32_t nick_n, nick_cap;
  struct arena arena;
};
int text_lists_add(struct text_lists *l, struct str file, uint32_t in, struct error *e) MUST_CHECK; /* the bytes of one list */
int text_lists_add_nicknames(struct text_lists *l, struct str file, struct error *e) MUST_CHECK;    /* a line = names of one person */
uint32_t text_lists_nicknames(const struct text_lists *l, uint64_t hash, uint64_t *out, uint32_t most);
int text_lists_add_surrogates(struct text_lists *l, struct str file, struct str kind, struct error *e) MUST_CHECK;
void text_lists_free(struct text_lists *l);
uint32_t text_lists_word(const struct text_lists *l, uint64_t hash);
void text_lists_ahead(const struct text_lists *l, uint64_t hash); /* text_lists_word of this hash comes soon */
uint32_t text_lists_phrase(const struct text_lists *l, uint64_t hash);
uint32_t text_class_named(struct str name); /* 0: no such class */

/* ---- tokens ---- */
size_t text_fold(struct str s, char *out, size_t size); /* lower case, accents off; the longest prefix that fits */
size_t text_unspaced(struct str s); /* bytes of its first character, if of Han, Kana or Hangul, which write no spaces; else 0 */
uint64_t text_hash(struct str folded);
uint64_t text_hash_join(uint64_t phrase, uint64_t word);
struct text_work;
int text_tokens(struct text_work *w, struct error *e) MUST_CHECK;
static inline bool token_capital(const struct token *t) {
  return t->shape == SHAPE_CAP || t->shape == SHAPE_UPPER || t->shape == SHAPE_MIXED;
}

/* ---- rules ---- */
struct text_rules;
int text_rules_load(struct str json, struct text_rules **out, struct error *e) MUST_CHECK; /* pure; compiles; fuzzed through text_scrub */
/* The same with other databases than the program's own (text_ready.h), and the making of them. */
int text_rules_load_with(struct str ready, struct str json, struct text_rules **out, struct error *e) MUST_CHECK;
int text_rules_prepare(struct str json, struct buf *out, struct error *e) MUST_CHECK;
bool text_rules_ready(const struct text_rules *r); /* taken from there, not compiled */
void text_rules_free(struct text_rules *r);
struct text_rules_work;
int text_rules_work_new(const struct text_rules *r, struct text_rules_work **out, struct error *e) MUST_CHECK;
void text_rules_work_free(struct text_rules_work *w);
enum { TEXT_RULES_PAD = 192 }; /* bytes of zero behind the text that may be read */
int text_rules_find(const struct text_rules *r, struct text_rules_work *rw, struct str text, struct text_spans *out,
                    struct error *e) MUST_CHECK;

/* ---- the whole ---- */
struct tagger;
struct tagger_work;
struct text_options {
  bool titles;            /* "Dr." is part of the name's span */
  bool countries;         /* states and countries by themselves are marked */
  bool join_places;       /* a facility and its town are one span; else only the parts of an address */
  bool grammar;           /* names, facilities and towns by lists and their neighbours */
  bool tagger_words;      /* a name that the tagger alone found may be made of ordinary words */
  uint32_t tagger_labels; /* bit per label that is taken from the tagger */
  uint32_t drop_labels;   /* bit per label that this configuration does not mark at all */
  size_t limit;           /* longest text in bytes */
};
struct text_scrubber {
  struct text_options options;
  struct text_lists lists;
  struct text_rules *rules;
  struct tagger *tagger; /* NULL: none */
  char hash[65];
};
struct known_set;
enum { WORD_CACHE = 8192 };
struct text_work {
  const struct text_scrubber *s;
  char *copy; /* the text with invalid bytes replaced; zeros follow */
  size_t copy_n, copy_cap;
  struct token *tokens;
  uint32_t token_n, token_cap;
  struct text_asked {  /* the words that the grammar of places and names begins at: few are */
    uint32_t word, in; /* in: classes and enum text_ask */
  } * asked;
  uint32_t asked_n, asked_cap, asked_in; /* asked_in: of any */
  struct text_word {                     /* what the lists say of the words met last */
    uint64_t hash;
    uint32_t in;
  } words[WORD_CACHE];
  struct text_rules_work *rules;
  struct tagger_work *tagger; /* NULL: none */
  struct known_set *known;
  struct text_spans found, spare;
  uint32_t *new_start;
  uint32_t new_cap;
  struct buf out;
  uint64_t *repeat; /* hashes of name words found, for the rest of the document */
  uint32_t repeat_n, repeat_cap;
};
static inline struct str work_text(const struct text_work *w) { return (struct str){w->copy, w->copy_n}; }
static inline struct str token_str(const struct text_work *w, const struct token *t) {
  return (struct str){w->copy + t->start, t->end - t->start};
}

enum text_ask { ASK_CAPITAL = IN_PHRASE_ON, ASK_INITIAL = IN_PHRASE }; /* in `asked`, where phrases are over */
/* Calls f with every word of `asked` that is not yet taken and has one of the bits `in`. */
typedef int text_word_fn(struct text_work *w, uint32_t i, struct error *e);
int text_each(struct text_work *w, uint32_t in, text_word_fn *f, struct error *e) MUST_CHECK;
int text_ask(struct text_work *w, struct error *e) MUST_CHECK; /* fills `asked` */
int text_find_places(struct text_work *w, struct error *e) MUST_CHECK;
int text_find_names(struct text_work *w, struct error *e) MUST_CHECK;
/* Marks the words of [start, end) as covered, so that later steps leave them alone. */
void text_take(struct text_work *w, uint32_t first, uint32_t last, int label);
int text_add_tokens(struct text_work *w, uint32_t first, uint32_t last, int label, int by,
                    struct error *e) MUST_CHECK; /* inclusive; takes them */

/* ---- the person ---- */
int text_known_set(struct text_work *w, const struct text_person *who, struct error *e) MUST_CHECK;
int text_known_find(struct text_work *w, struct error *e) MUST_CHECK;
/* How many of the person's identifiers are in `text`, replacements included (a surrogate may be no original), but for `kept`: regions that
 * the policy leaves as they were. */
uint32_t text_known_count(const struct text_work *w, struct str text, const struct text_spans *kept);
void text_known_free(struct known_set *k);
bool text_known_word(const struct text_work *w, uint64_t hash);
enum text_role { TEXT_ROLE_ANY, TEXT_ROLE_GIVEN, TEXT_ROLE_FAMILY };
int text_known_role(const struct text_work *w, uint64_t hash);
/* Own names written wrongly (text_variant.c); folded words, none of the language. Near: one letter wrong, two in long words, fewer allowed in
 * small letters. Scanned: equal but for what scanners mix up (0 for O, rn for m). Bare: without digits at either end. Glued: the name with
 * a capital's hump, or with something `known` (an initial, a title, another name) before or behind it; long names with anything. */
typedef bool text_glue(const void *ctx, struct str rest);
bool text_name_near(struct str word, bool capital, struct str name);
bool text_name_scanned(struct str word, struct str name);
struct str text_name_bare(struct str word);
bool text_name_glued(struct str word, struct str written, struct str name, text_glue *known, const void *ctx);
/* The person's own name that `word` is a misspelling of, else `word`: one surrogate for both. */
struct str text_known_spelling(const struct text_work *w, struct str word);

/* ---- replacing and looking again ---- */
int text_replace(struct text_work *w, const struct text_person *who, enum text_mode mode, struct text_result *out,
                 struct error *e) MUST_CHECK;
/* Identifier shapes of `text` outside `skip` (sorted, without overlap). Plain C: shares no pattern with text_rules.c. */
uint32_t text_residual_shapes(struct str text, const struct text_spans *skip, bool dates);
/* A date as written, moved: E_INPUT when it cannot be read, which the caller masks. `out` gets at most `size` bytes. */
int text_date_move(struct str written, bool day_first, enum deid_dates how, int32_t days, char *out, size_t size,
                   struct error *e) MUST_CHECK;
#endif
