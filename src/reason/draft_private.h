/* Shared by draft*.c only: documents as data. */
#ifndef REASON_DRAFT_PRIVATE_H
#define REASON_DRAFT_PRIVATE_H
#include "reason/ask_private.h"
#include "reason/draft.h"

enum part_of { PART_PERSON, PART_LIST, PART_RESULTS, PART_STAY, PART_RISKS, PART_BLANK, PARTS_OF };
enum window { WINDOW_ALL, WINDOW_VISIT, WINDOW_STAY, WINDOW_BEFORE_STAY, WINDOWS };
enum state { STATE_ANY, STATE_ACTIVE, STATE_PAST, STATES };
enum line {
  LINE_SEX,
  LINE_AGE,
  LINE_DEATH,
  LINE_ONCE,
  LINE_MANY,
  LINE_CHANGED,
  LINE_SAME,
  LINE_NONE,
  LINE_FROM,
  LINE_TO,
  LINE_OPEN,
  LINE_RISK,
  LINE_NOT,
  LINE_WARNING,
  LINES
};
extern const char *const draft_line_name[LINES];
/* What stands in a pattern's braces */
enum field {
  FIELD_NAME,
  FIELD_VALUE,
  FIELD_FIRST,
  FIELD_LAST,
  FIELD_DAY,
  FIELD_N,
  FIELD_FROM,
  FIELD_DIRECTION,
  FIELD_INTERVAL,
  FIELD_AGREEMENT,
  FIELD_REASON,
  FIELDS
};
extern const char *const draft_field_name[FIELDS];

struct names {
  struct str *name;
  int n;
};
struct part {
  enum part_of of;
  enum window window;
  enum state state;
  unsigned kinds;           /* bits 1 << timeline_kind */
  double days, before_days; /* before the record's end; 0 = open */
  int most;
  bool within;       /* results: compared with the window's first, not with the one before */
  bool living;       /* only where the record holds no death */
  struct names skip; /* what a code or its display begins with; after a '*': what a display holds */
  struct str line[LINES];
};
struct section {
  struct str key, title;
  struct part *part;
  int parts;
};
struct document {
  struct str kind, title;
  uint32_t least_events;
  int least_sentences;
  bool needs_stay;
  struct section *section;
  int sections;
};
struct drafter {
  const struct asker *k;
  struct arena a;
  struct names resolved, visit_from, stay_from, stay_to;
  struct names kindless;      /* codes that do not tell what they are: where they stand nothing is said to be missing */
  struct names named, called; /* codes that have no display, and what they are called */
  struct document *document;
  int documents;
};
/* Reads documents into d (its arena, its lists) */
int draft_documents(struct json root, struct drafter *d, struct error *e) MUST_CHECK;
/* The pattern with its fields filled in, appended to `out` */
void draft_fill(struct str pattern, const struct str field[FIELDS], struct buf *out);
#endif
