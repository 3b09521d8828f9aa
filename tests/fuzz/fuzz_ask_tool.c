/* What a language model writes: arguments of a tool and sentences with citations. Nothing of another life is ever found, and a sentence that stands has no figure
 * or word that is not the events'. The first byte chooses the tool. */
#include "base/time.h"
#include "deid/event_make.h"
#include "reason/ask_model.h"
#include "timeline/timeline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
static struct timeline *store;
static struct asker *asker;
static uint32_t mine;

static int open_store(struct error *e) {
  const struct event v[] = {
      {.subject = 7, .time = TIME_DAY, .code = STR("LOINC//2160-0"), .display = STR("Creatinine"), .value = 1.5F, .unit = STR("mg/dL")},
      {.subject = 7,
       .time = 2 * TIME_DAY,
       .code = STR("NOTE//x"),
       .display = STR("Note"),
       .value = 0,
       .text = STR("seen today, creatinine fine")},
      {.subject = 8, .time = TIME_DAY, .code = STR("LOINC//99999-9"), .display = STR("Zebrafin"), .value = 424242}};
  TRY(timeline_memory_new(&store, e));
  for (int i = 0; i < 3; i++) TRY(timeline_memory_append(store, &v[i], e));
  TRY(timeline_memory_seal(store, e));
  TRY(timeline_find(store, 7, &mine, e));
  return asker_new(store, &asker, e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct arena a;
  struct ask_found f = {0};
  struct error e = {0};
  if (!size || (!asker && open_store(&e) < 0)) return 0;
  arena_init(&a, 16 << 20, 0);
  struct str text = {(const char *)data + 1, size - 1};
  struct ask_scope s = {.k = asker, .index = mine};
  if (ask_tool(&s, str_c(ask_tool_name[data[0] % ASK_TOOLS]), text, &a, &f, &e) == OK)
    for (int i = 0; i < f.said.sentences; i++)
      if (memmem(f.said.sentence[i].text.p, f.said.sentence[i].text.n, "424242", 6)) BUG("the other life");
  if (text.n < 2000) (void)ask_sentence_finding(asker, mine, text, (uint32_t[]){0, 1}, 1 + data[0] % 2, NULL, &a, &e);
  arena_free(&a);
  return 0;
}
