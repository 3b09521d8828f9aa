/* The order of events inside a life, and who belongs to which split. */
#include <stdlib.h>

#include "timeline/timeline_store.h"

uint32_t value_key(float v) {
  uint32_t b;
  if (v != v) return 0;
  memcpy(&b, &v, sizeof b);
  return b & 0x80000000u ? ~b : b | 0x80000000u;
}

float value_of(uint32_t key) {
  uint32_t b = key == 0 ? 0x7FC00000u : key & 0x80000000u ? key & 0x7FFFFFFFu : ~key;
  float v;
  memcpy(&v, &b, sizeof v);
  return v;
}

static int compare_what(const struct item *a, const struct item *b) {
  if (a->label != b->label) return a->label ? 1 : -1;
  if (a->time != b->time) return a->time < b->time ? -1 : 1;
  if (a->code != b->code) return a->code < b->code ? -1 : 1;
  if (a->value_key != b->value_key) return a->value_key < b->value_key ? -1 : 1;
  if (a->unit != b->unit) return a->unit < b->unit ? -1 : 1;
  if (!a->text && !b->text) return 0;
  int text = str_cmp((struct str){a->text, a->text_n}, (struct str){b->text, b->text_n});
  if (text || !(a->blob | b->blob)) return text;
  return a->blob != b->blob ? (a->blob ? 1 : -1) : memcmp(item_blob(a), item_blob(b), BLOB_BYTES);
}

int item_compare(const struct item *a, const struct item *b) {
  int c = compare_what(a, b);
  if (c) return c;
  if (a->file != b->file) return a->file < b->file ? -1 : 1;
  return (a->row > b->row) - (a->row < b->row);
}

bool item_same(const struct item *a, const struct item *b) { return compare_what(a, b) == 0; }

static void insertion(struct item *v, uint32_t n) {
  for (uint32_t i = 1; i < n; i++) {
    if (item_compare(&v[i - 1], &v[i]) <= 0) continue;
    struct item x = v[i];
    uint32_t j = i;
    for (; j && item_compare(&v[j - 1], &x) > 0; j--) v[j] = v[j - 1];
    v[j] = x;
  }
}

static void merge(const struct item *from, struct item *to, uint32_t a, uint32_t mid, uint32_t end) {
  uint32_t i = a, j = mid, k = a;
  if (item_compare(&from[mid - 1], &from[mid]) <= 0) {
    memcpy(to + a, from + a, (end - a) * sizeof *to);
    return;
  }
  while (i < mid && j < end) to[k++] = item_compare(&from[i], &from[j]) <= 0 ? from[i++] : from[j++];
  while (i < mid) to[k++] = from[i++];
  while (j < end) to[k++] = from[j++];
}

/* Merge sort: hospital exports come mostly sorted, and that is its best case. */
static void sort(struct item *v, uint32_t n, struct item *scratch) {
  enum { RUN = 16 };
  for (uint32_t i = 0; i < n; i += RUN) insertion(v + i, n - i < RUN ? n - i : RUN);
  struct item *from = v, *to = scratch;
  for (uint64_t width = RUN; width < n; width *= 2) {
    for (uint64_t a = 0; a < n; a += 2 * width) {
      uint64_t mid = a + width < n ? a + width : n, end = a + 2 * width < n ? a + 2 * width : n;
      if (mid < end)
        merge(from, to, (uint32_t)a, (uint32_t)mid, (uint32_t)end);
      else
        memcpy(to + a, from + a, (size_t)(end - a) * sizeof *to);
    }
    struct item *swap = from;
    from = to;
    to = swap;
  }
  if (from != v) memcpy(v, from, n * sizeof *v);
}

static int compare_slot(const struct item *a, const struct item *b) {
  if (a->time != b->time) return a->time < b->time ? -1 : 1;
  return (a->code > b->code) - (a->code < b->code);
}

static int by_slot(const void *a, const void *b) {
  const struct item *x = a, *y = b;
  int c = compare_slot(x, y);
  return c ? c : (x->seq > y->seq) - (x->seq < y->seq);
}

/* Leaves out the items that take something back, and what of their time and code came before the last of them. */
static uint32_t take_back(struct item *items, uint32_t n, struct item *backs) {
  uint32_t found = 0, kept = 0;
  for (uint32_t i = 0; i < n; i++)
    if (items[i].back) backs[found++] = items[i];
  if (!found) return n;
  qsort(backs, found, sizeof *backs, by_slot);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t low = 0, high = found; /* the last one of this slot stands before `low` */
    while (low < high) {
      uint32_t mid = low + (high - low) / 2;
      if (compare_slot(&backs[mid], &items[i]) <= 0)
        low = mid + 1;
      else
        high = mid;
    }
    bool gone = low && compare_slot(&backs[low - 1], &items[i]) == 0 && backs[low - 1].seq > items[i].seq;
    if (!gone && !items[i].back) items[kept++] = items[i];
  }
  return kept;
}

static const char *const sex_prefixes[SEX_PREFIXES] = {"GENDER//", "SEX//", "Gender//", "MEDS_GENDER//"};

struct str timeline_sex_of(struct str code) {
  for (int i = 0; i < SEX_PREFIXES; i++)
    if (str_starts(code, str_c(sex_prefixes[i]))) return (struct str){code.p + strlen(sex_prefixes[i]), code.n - strlen(sex_prefixes[i])};
  return STR_NONE;
}

void special_code(struct special *s, uint32_t rank, struct str name) {
  if (str_eqc(name, TIMELINE_BIRTH)) s->birth = rank;
  for (int i = 0; i < SEX_PREFIXES; i++) {
    if (!str_starts(name, str_c(sex_prefixes[i]))) continue;
    if (s->sex[i].from == s->sex[i].to) s->sex[i].from = rank;
    s->sex[i].to = rank + 1;
    if (str_eqc(timeline_sex_of(name), "U")) s->sex[i].unknown = rank + 1;
  }
  if (!str_starts(name, STR(TIMELINE_LABEL))) return;
  if (s->label == s->label_end) s->label = rank;
  s->label_end = rank + 1;
}

/* 0: no sex, or one with a time; 1: unknown; 2: known */
static int sex_rank(const struct special *s, const struct item *x) {
  for (int i = 0; x->time == TIME_STATIC && i < SEX_PREFIXES; i++)
    if (x->code >= s->sex[i].from && x->code < s->sex[i].to) return x->code + 1 == s->sex[i].unknown ? 1 : 2;
  return 0;
}

static uint32_t one_sex(struct item *items, uint32_t n, const struct special *special) {
  uint32_t last = 0, kept = 0;
  int best = 0;
  for (uint32_t i = 0; i < n; i++) {
    int rank = sex_rank(special, &items[i]);
    if (rank > best || (rank && rank == best && items[i].seq > items[last].seq)) last = i, best = rank;
  }
  if (!best) return n;
  uint32_t sex = items[last].code;
  for (uint32_t i = 0; i < n; i++)
    if (items[i].code == sex || !sex_rank(special, &items[i])) items[kept++] = items[i];
  return kept;
}

uint32_t items_order(struct item *items, uint32_t n, struct item *scratch, const struct special *special) {
  uint32_t last = UINT32_MAX, kept = 0, birth = special->birth;
  n = take_back(items, n, scratch);
  for (uint32_t i = 0; i < n; i++) items[i].label = is_label(special, items[i].code);
  for (uint32_t i = 0; i < n; i++)
    if (items[i].code == birth && (last == UINT32_MAX || items[i].seq > items[last].seq)) last = i;
  if (last != UINT32_MAX) {
    struct item born = items[last];
    for (uint32_t i = 0; i < n; i++)
      if (items[i].code != birth || item_same(&items[i], &born)) items[kept++] = items[i];
    n = kept;
  }
  n = one_sex(items, n, special);
  sort(items, n, scratch);
  kept = 0;
  for (uint32_t i = 0; i < n; i++)
    if (kept == 0 || !item_same(&items[kept - 1], &items[i])) items[kept++] = items[i];
  return kept;
}

enum split split_of(int64_t subject, uint64_t seed, enum split_rule rule) {
  uint64_t h = hash64_u64((uint64_t)subject ^ hash64_u64(seed));
  uint32_t percent = (uint32_t)((h >> 32) * 100 >> 32);
  switch (rule) {
    case SPLIT_ALL_TRAIN: return SPLIT_TRAIN;
    case SPLIT_ALL_TUNING: return SPLIT_TUNING;
    case SPLIT_ALL_HELD_OUT: return SPLIT_HELD_OUT;
    case SPLIT_TRAIN_TUNING: return percent < 85 ? SPLIT_TRAIN : SPLIT_TUNING;
    case SPLIT_AUTO: break;
  }
  return percent < 70 ? SPLIT_TRAIN : percent < 85 ? SPLIT_TUNING : SPLIT_HELD_OUT;
}
