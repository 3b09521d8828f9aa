/* Dates, durations and numbers: what is accepted must come back from its own formatted text. */
#include "base/time.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *exact = mem_alloc(size);
  if (!exact) return 0;
  if (size) memcpy(exact, data, size);
  struct str s = {exact, size};
  struct time_parts p;
  int64_t us, again;
  double v;
  char text[32];
  if (time_parse(s, &p, &us, NULL) == OK) {
    time_format(us, text);
    if (p.year < 9999 && (time_parse(str_c(text), &p, &again, NULL) < 0 || again != us)) BUG("a time does not come back");
    time_format_span(us, text);
  }
  if (time_parse_duration(s, &us, NULL) == OK) time_format_span(us, text);
  if (str_to_i64(s, &us) == OK && str_to_f64(s, &v) < 0) BUG("an integer that is no number");
  if (str_to_f64(s, &v) == OK && !(v - v == 0)) BUG("a number that is not finite");
  mem_free(exact);
  return 0;
}
