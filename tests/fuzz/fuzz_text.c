/* Texts and rules as anybody may write them: no crash, no hang; spans in order, inside the text and on whole characters; the result is valid
 * UTF-8; what the person is known by is not in a text whose second look found nothing. */
#include <stdlib.h>

#include "deid/text.h"
#include "deid/text_internal.h"
#include "record/record.h"

static struct text_scrubber *scrubber;
static struct text_work *work;

static void check(const struct text_result *r, struct str text) {
  for (uint32_t i = 0; i < r->spans.n; i++) {
    const struct text_span *s = &r->spans.at[i];
    if (s->start >= s->end || s->end > text.n || s->label >= TEXT_LABELS) abort();
    if (i && s->start < r->spans.at[i - 1].end) abort();
    if (r->new_start[i] > r->text.n) abort();
  }
  if (!str_utf8_valid(r->text)) abort();
}

static void scrub(struct str text, uint8_t how) {
  static const struct text_known known[] = {
      {IDENTIFIER_NAME, {"Okonkwo", 7}}, {IDENTIFIER_MRN, {"00483921", 8}}, {IDENTIFIER_GEOGRAPHY, {"12 Larkspur Lane", 16}}};
  struct text_person who = {
      .known = known, .known_n = 3, .dates = (enum deid_dates)(how % 3), .shift_days = how - 128, .day_first = how & 8};
  struct text_result r;
  int rc = text_scrub(work, text, &who, how & 4 ? TEXT_TAG : TEXT_SURROGATE, &r, NULL);
  if (rc == E_LIMIT) return;
  if (rc != OK) abort();
  check(&r, text);
  if (!r.residual && memmem(r.text.p, r.text.n, " Okonkwo ", 9)) abort();
}

static void rules(struct str json) {
  struct text_rules *r;
  if (json.n > 400 || text_rules_load(json, &r, NULL) < 0) return;
  text_rules_free(r);
}

/* Apart from the inputs: compiling the patterns takes longer than one of those may. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  if (text_scrubber_open("policy/text.json", &scrubber, NULL) < 0 || text_work_new(scrubber, &work, NULL) < 0) abort();
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  char *exact = malloc(size);
  if (!exact) return 0;
  memcpy(exact, data + 1, size - 1);
  struct str s = {exact, size - 1};
  if (data[0] == 255)
    rules(s);
  else
    scrub(s, data[0]);
  char moved[128];
  if (size < 64) (void)text_date_move(s, data[0] & 1, (enum deid_dates)(data[0] % 3), data[0], moved, sizeof moved, NULL);
  free(exact);
  return 0;
}
