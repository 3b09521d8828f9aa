/* The risk report in words, JSON and pictures. Small counts are masked here and nowhere later: nothing else reads the raw ones. */
#include <math.h>

#include "base/json.h"
#include "base/plot.h"
#include "base/progress.h"
#include "validate/risk.h"

static bool small(uint64_t n) { return n >= 1 && n <= RISK_SMALL; }

void risk_mask(const uint64_t *count, uint8_t *flag, int n) {
  int masked = 0, second = -1;
  for (int i = 0; i < n; i++) masked += flag[i] = small(count[i]);
  if (masked != 1) return;
  for (int i = 0; i < n; i++)
    if (!flag[i] && count[i] && (second < 0 || count[i] < count[second])) second = i;
  if (second >= 0) flag[second] = 2;
}

/* A count and its complement to `total`: both must be large, or nought. */
static bool hidden(uint64_t n, uint64_t total) { return small(n) || (n < total && small(total - n)); }

static void put_count(struct json_out *o, const char *key, uint64_t n, uint64_t total) {
  if (small(n))
    json_kv_c(o, key, "<11");
  else if (hidden(n, total))
    json_kv_c(o, key, "masked");
  else
    json_kv_i64(o, key, (int64_t)n);
}

static void put_share(struct json_out *o, const char *key, uint64_t n, uint64_t total) {
  json_out_key(o, key);
  if (!total || hidden(n, total))
    json_out_null(o);
  else
    json_out_f64(o, (double)n / (double)total);
}

/* ---- JSON ---- */

static void set_json(const struct risk *r, const struct risk_set *s, struct json_out *o) {
  uint8_t flag[RISK_BANDS];
  risk_mask(s->persons, flag, RISK_BANDS);
  json_out_object(o);
  json_kv_c(o, "attributes", s->name);
  put_count(o, "classes", s->classes, r->persons);
  json_out_key(o, "persons_by_class_size");
  json_out_object(o);
  for (int b = 0; b < RISK_BANDS; b++) {
    json_out_key(o, risk_band_name[b]);
    if (flag[b])
      json_out_c(o, flag[b] == 1 ? "<11" : "masked");
    else
      json_out_u64(o, s->persons[b]);
  }
  json_out_end(o);
  put_count(o, "unique", s->unique, r->persons);
  put_count(o, "k_under_5", s->under5, r->persons);
  put_count(o, "k_under_11", s->under11, r->persons);
  put_share(o, "share_unique", s->unique, r->persons);
  put_share(o, "share_k_under_5", s->under5, r->persons);
  put_share(o, "share_k_under_11", s->under11, r->persons);
  json_kv_i64(o, "k_least", small(s->smallest) ? -1 : (int64_t)s->smallest);
  json_kv_bool(o, "k_least_is_small", small(s->smallest));
  put_share(o, "prosecutor_risk_mean", s->classes, r->persons);
  json_out_end(o);
}

static void map_json(const struct risk *r, struct json_out *o) {
  json_out_object(o);
  json_kv_c(o, "population", r->population_source);
  json_kv_i64(o, "year", r->population_year);
  json_kv_c(o, "attributes", "age band, sex, ZIP3; taken as independent");
  put_count(o, "persons_with_zip3", r->map_zip, r->persons);
  put_count(o, "people_under_5", r->map_under5, r->persons);
  put_count(o, "people_under_11", r->map_under11, r->persons);
  put_count(o, "people_under_100", r->map_under100, r->persons);
  json_kv_f64(o, "least_people", floor(r->map_least));
  json_out_end(o);
}

static void codes_json(const struct risk *r, struct json_out *o) {
  json_out_object(o);
  json_kv_i64(o, "codes", (int64_t)r->codes);
  json_kv_i64(o, "rare_under", r->rare_limit);
  json_kv_i64(o, "rare_codes", (int64_t)r->rare_codes);
  put_count(o, "persons_with_a_rare_code", r->rare_persons, r->persons);
  put_count(o, "events_with_a_rare_code", r->rare_events, r->events);
  json_out_key(o, "systems");
  json_out_array(o);
  for (int i = 0; i < r->systems; i++) {
    json_out_object(o);
    json_kv_c(o, "system", r->system[i].name);
    json_kv_i64(o, "codes", (int64_t)r->system[i].codes);
    json_kv_i64(o, "rare", (int64_t)r->system[i].rare);
    json_out_end(o);
  }
  json_out_end(o);
  json_out_end(o);
}

/* What somebody knows of a person; in JSON the keys, in pages the words. */
static const char *const attack_key[RISK_ATTACKS] = {"one_code", "two_codes", "attributes_and_one_code", "attributes_and_two_codes"};
static const char *const attack_name[RISK_ATTACKS] = {"one code", "two codes", "age band, sex, ZIP3 and one code",
                                                      "age band, sex, ZIP3 and two codes"};

static void known_json(const struct risk *r, struct json_out *o) {
  json_out_object(o);
  json_kv_i64(o, "common", r->common);
  for (int i = 0; i < RISK_ATTACKS; i++) {
    const struct risk_known *x = &r->known_codes[i];
    json_out_key(o, attack_key[i]);
    json_out_object(o);
    put_count(o, "persons_with_fewer_than_k", x->persons, r->persons);
    put_share(o, "share", x->persons, r->persons);
    put_count(o, "combinations", x->combinations, x->combinations);
    json_out_end(o);
  }
  json_out_end(o);
}

static void patterns_json(const struct risk *r, struct json_out *o) {
  json_out_array(o);
  for (int i = 0; i < RISK_PATTERNS; i++) {
    const struct risk_pattern *p = &r->pattern[i];
    json_out_object(o);
    json_kv_i64(o, "codes", p->codes);
    json_kv_i64(o, "persons_tried", (int64_t)p->tried);
    put_count(o, "singled_out_by_codes", p->by_codes, p->tried);
    put_count(o, "singled_out_by_codes_and_days_between", p->by_gaps, p->tried);
    put_share(o, "share_by_codes", p->by_codes, p->tried);
    put_share(o, "share_by_codes_and_days_between", p->by_gaps, p->tried);
    json_out_end(o);
  }
  json_out_end(o);
}

void risk_json(const struct risk *r, struct json_out *o) {
  static const char *const names[RISK_ATTRIBUTES] = {"sex", "zip3", "race", "ethnicity"};
  json_out_object(o);
  json_kv_i64(o, "persons", (int64_t)r->persons);
  json_kv_i64(o, "events", (int64_t)r->events);
  json_kv_i64(o, "k", r->k);
  json_out_key(o, "attributes");
  json_out_object(o);
  for (int a = 0; a < RISK_ATTRIBUTES; a++) {
    json_out_key(o, names[a]);
    json_out_object(o);
    put_count(o, "persons_known", r->known[a], r->persons);
    json_kv_i64(o, "values", (int64_t)r->values[a]);
    json_kv_i64(o, "values_of_fewer_than_11_persons", (int64_t)r->small_values[a]);
    json_out_end(o);
  }
  json_out_end(o);
  put_count(o, "birth_known", r->birth_known, r->persons);
  json_out_key(o, "classes");
  json_out_array(o);
  for (int s = 0; s < RISK_SETS; s++) set_json(r, &r->set[s], o);
  json_out_end(o);
  json_out_key(o, "k_map");
  if (r->population)
    map_json(r, o);
  else
    json_out_null(o);
  json_out_key(o, "rare_codes");
  codes_json(r, o);
  json_out_key(o, "known_codes");
  known_json(r, o);
  json_out_key(o, "longitudinal");
  patterns_json(r, o);
  json_out_end(o);
}

/* ---- HTML ---- */

static void number(struct buf *b, uint64_t n) {
  char text[32];
  human_thousands((int64_t)n, text);
  buf_puts(b, text);
}

static void cell(struct buf *b, uint64_t n, uint64_t total) {
  buf_puts(b, "<td class=n>");
  if (small(n))
    buf_puts(b, "&lt;11");
  else if (hidden(n, total))
    buf_puts(b, "masked");
  else
    number(b, n);
}

static void share_cell(struct buf *b, uint64_t n, uint64_t total) {
  buf_puts(b, "<td class=n>");
  if (!total)
    buf_puts(b, "-");
  else if (hidden(n, total))
    buf_puts(b, n < total - n ? "under " : "over "),
        buf_printf(b, "%.2g %%", 100.0 * (n < total - n ? 11.0 : (double)total - 11) / (double)total);
  else
    buf_printf(b, "%.1f %%", 100.0 * (double)n / (double)total);
}

/* For pictures a masked count stands at the edge of what it may be. */
static double drawn(uint64_t n, uint64_t total) {
  if (!total) return 0;
  if (small(n)) n = RISK_SMALL + 1;
  if (n < total && small(total - n)) n = total > RISK_SMALL ? total - RISK_SMALL - 1 : 0;
  return 100.0 * (double)(n > total ? total : n) / (double)total;
}

static void classes_html(const struct risk *r, struct buf *b) {
  buf_puts(b,
           "<h2>Persons who look alike</h2><p class=soft>Persons with the same attributes form a class; k is its size. Who knows the "
           "attributes and knows that "
           "the person is here guesses right with chance 1/k.</p><div class=wide><table><tr><td><td><td class=soft colspan=7>persons in "
           "classes of k =<td class=soft colspan=2>share of persons<td><tr><th>attributes known<th class=n>classes");
  for (int i = 0; i < RISK_BANDS; i++) buf_printf(b, "<th class=n>%s", risk_band_name[i]);
  buf_puts(b, "<th class=n>k &lt; 5<th class=n>k &lt; 11<th class=n>mean risk");
  for (int s = 0; s < RISK_SETS; s++) {
    const struct risk_set *set = &r->set[s];
    uint8_t flag[RISK_BANDS];
    risk_mask(set->persons, flag, RISK_BANDS);
    buf_printf(b, "<tr><td>%s", set->name);
    cell(b, set->classes, r->persons);
    for (int i = 0; i < RISK_BANDS; i++) {
      buf_puts(b, "<td class=n>");
      if (flag[i])
        buf_puts(b, flag[i] == 1 ? "&lt;11" : "masked");
      else
        number(b, set->persons[i]);
    }
    share_cell(b, set->under5, r->persons);
    share_cell(b, set->under11, r->persons);
    share_cell(b, set->classes, r->persons);
  }
  buf_puts(b, "</table></div>");
}

static void classes_picture(const struct risk *r, struct buf *b) {
  static const double edge[RISK_BANDS] = {1, 4, 10, 20, 50, 100, 1000};
  struct plot p;
  plot_init(&p, "Persons in classes of at most k", "k", "% of persons");
  for (int s = 0; s < RISK_SETS; s++) {
    double y[RISK_BANDS];
    uint64_t sum = 0;
    for (int i = 0; i < RISK_BANDS; i++) sum += r->set[s].persons[i], y[i] = drawn(sum, r->persons);
    plot_add(&p, PLOT_LINE, r->set[s].name, edge, y, NULL, RISK_BANDS - 1);
  }
  p.x_log = true;
  plot_range(&p, 1, 100, 0, 100);
  plot_svg(&p, 640, 320, b);
  plot_release(&p);
}

static void patterns_html(const struct risk *r, struct buf *b) {
  double x[RISK_PATTERNS], codes[RISK_PATTERNS], gaps[RISK_PATTERNS];
  buf_puts(b,
           "<h2>Lives that are like no other</h2><p class=soft>An attacker knows a few random codes of a person, or the codes and the days "
           "between them, and no "
           "date. Whom does that single out?</p><table><tr><th class=n>codes known<th class=n>persons tried<th class=n>by the codes<th "
           "class=n>by codes and "
           "days between");
  for (int i = 0; i < RISK_PATTERNS; i++) {
    const struct risk_pattern *p = &r->pattern[i];
    buf_printf(b, "<tr><td class=n>%d<td class=n>", p->codes);
    number(b, p->tried);
    share_cell(b, p->by_codes, p->tried);
    share_cell(b, p->by_gaps, p->tried);
    x[i] = p->codes, codes[i] = drawn(p->by_codes, p->tried), gaps[i] = drawn(p->by_gaps, p->tried);
  }
  buf_puts(b, "</table>");
  struct plot p;
  plot_init(&p, "Persons singled out by what is known of a life", "codes known", "% of persons tried");
  plot_add(&p, PLOT_LINE, "the codes", x, codes, NULL, RISK_PATTERNS);
  plot_add(&p, PLOT_LINE, "the codes and the days between", x, gaps, NULL, RISK_PATTERNS);
  plot_range(&p, 2, 5, 0, 100);
  plot_svg(&p, 640, 300, b);
  plot_release(&p);
}

static void rare_html(const struct risk *r, struct buf *b) {
  buf_printf(b, "<h2>Rare codes</h2><p>A code is rare when fewer than %u persons have it. ", r->rare_limit);
  number(b, r->rare_codes);
  buf_puts(b, " of ");
  number(b, r->codes);
  buf_puts(b, " codes are.</p><table><tr><td>persons with a rare code");
  cell(b, r->rare_persons, r->persons);
  share_cell(b, r->rare_persons, r->persons);
  buf_puts(b, "<tr><td>events with a rare code");
  cell(b, r->rare_events, r->events);
  share_cell(b, r->rare_events, r->events);
  buf_puts(b, "</table><table><tr><th>code system<th class=n>codes<th class=n>rare");
  for (int i = 0; i < r->systems; i++) {
    buf_puts(b, "<tr><td>");
    buf_html(b, str_c(r->system[i].name));
    buf_puts(b, "<td class=n>");
    number(b, r->system[i].codes);
    buf_puts(b, "<td class=n>");
    number(b, r->system[i].rare);
  }
  buf_puts(b, "</table>");
}

static void known_html(const struct risk *r, struct buf *b) {
  buf_printf(b,
             "<h2>What somebody knows of a person</h2><p class=soft>An attacker knows a diagnosis, a drug or a test of a person, or two of "
             "them, without their dates, perhaps with age band, sex and ZIP3. Codes that %u persons and more have are taken to tell "
             "nothing. Who shares what is known with fewer than k = %u persons of the store?</p><table><tr><th>known<th class=n>such "
             "combinations<th class=n>persons<th class=n>share",
             r->common, r->k);
  for (int i = 0; i < RISK_ATTACKS; i++) {
    buf_printf(b, "<tr><td>%s", attack_name[i]);
    cell(b, r->known_codes[i].combinations, r->known_codes[i].combinations);
    cell(b, r->known_codes[i].persons, r->persons);
    share_cell(b, r->known_codes[i].persons, r->persons);
  }
  buf_puts(b, "</table>");
}

static void map_html(const struct risk *r, struct buf *b) {
  if (!r->population) return;
  buf_printf(b,
             "<h2>Against the population</h2><p class=soft>How many people of the country have a person's age band, sex and ZIP3 (%s). "
             "Age, sex and place are taken "
             "as independent; race and history are left out, so the true groups are smaller.</p><table><tr><th>people alike in the "
             "country<th class=n>persons here"
             "<th class=n>share<tr><td>fewer than 5",
             r->population_source);
  cell(b, r->map_under5, r->persons), share_cell(b, r->map_under5, r->persons);
  buf_puts(b, "<tr><td>fewer than 11");
  cell(b, r->map_under11, r->persons), share_cell(b, r->map_under11, r->persons);
  buf_puts(b, "<tr><td>fewer than 100");
  cell(b, r->map_under100, r->persons), share_cell(b, r->map_under100, r->persons);
  buf_puts(b, "</table>");
}

static void attributes_html(const struct risk *r, struct buf *b) {
  static const char *const names[RISK_ATTRIBUTES] = {"sex", "ZIP3", "race", "ethnicity"};
  buf_puts(b,
           "<h2>What an outsider may know</h2><table><tr><th>attribute<th class=n>persons known<th class=n>values<th class=n>values of "
           "fewer than 11 persons");
  for (int a = 0; a < RISK_ATTRIBUTES; a++) {
    buf_printf(b, "<tr><td>%s", names[a]);
    cell(b, r->known[a], r->persons);
    buf_printf(b, "<td class=n>%llu<td class=n>%llu", (unsigned long long)r->values[a], (unsigned long long)r->small_values[a]);
  }
  buf_puts(b, "<tr><td>age band at the last event");
  cell(b, r->birth_known, r->persons);
  buf_puts(b, "<td><td></table>");
}

void risk_html(const struct risk *r, struct buf *b) {
  classes_html(r, b);
  classes_picture(r, b);
  patterns_html(r, b);
  map_html(r, b);
  rare_html(r, b);
  known_html(r, b);
  attributes_html(r, b);
  buf_puts(b,
           "<p class=soft>Counts from 1 to 10 are shown as &lt;11; a count from which such a one could be computed is masked. In the "
           "pictures they stand at the edge.</p>");
}

/* ---- what a policy held back ---- */

static void before_after(struct buf *b, const char *what, uint64_t before, uint64_t after, uint64_t all_before, uint64_t all_after) {
  buf_printf(b, "<tr><td>%s", what);
  cell(b, before, all_before);
  cell(b, after, all_after);
}

static void held(struct buf *b, const char *what, uint64_t n) {
  buf_printf(b, "<tr><td>%s<td class=n>", what);
  if (small(n))
    buf_puts(b, "&lt;11");
  else
    number(b, n);
}

void risk_suppressed_html(const struct risk_suppressed *d, const struct risk *before, const struct risk *after, struct buf *b) {
  buf_printf(b,
             "<h1>What the policy held back</h1><p>Nothing that fewer than k = %u persons share goes into the released store: rare codes "
             "became broader ones, or stayed behind; persons whom age band, sex and ZIP3 would single out lost what does it. What was held "
             "back stays in the site's base store, and is weighed anew at each ingest.</p><table><tr><th>held back<th class=n>count",
             d->k);
  held(b, "codes that became broader ones", d->codes_broader);
  held(b, "codes left out", d->codes_left_out);
  held(b, "events with a broader code", d->events_broader);
  held(b, "events left out", d->events_left_out);
  held(b, "persons without ZIP3", d->zip3);
  held(b, "persons without sex", d->sex);
  if (d->classes) held(b, "persons without race and ethnicity", d->race);
  if (d->classes) held(b, "persons left out", d->persons);
  if (d->codes >= 2 || d->with_attributes) {
    held(b, "codes left out of single lives, for a combination", d->held);
    held(b, "persons with such a code", d->held_persons);
    held(b, "events left out so", d->held_events);
  }
  held(b, "persons of whom anything was held back", d->touched);
  buf_puts(b, "</table><h2>Before and after</h2><table><tr><th><th class=n>before<th class=n>after");
  before_after(b, "persons", before->persons, after->persons, before->persons, after->persons);
  before_after(b, "events", before->events, after->events, before->events, after->events);
  before_after(b, "codes", before->codes, after->codes, before->codes, after->codes);
  before_after(b, "codes of too few persons", before->rare_codes, after->rare_codes, before->codes, after->codes);
  before_after(b, "persons with such a code", before->rare_persons, after->rare_persons, before->persons, after->persons);
  before_after(b, "persons of fewer than 11 people of the country (k-map)", before->map_under11, after->map_under11, before->persons,
               after->persons);
  before_after(b, "persons in classes of fewer than 11 here (age band, sex, ZIP3)", before->set[0].under11, after->set[0].under11,
               before->persons, after->persons);
  for (int i = 1; i < RISK_ATTACKS; i++) {
    char what[96];
    snprintf(what, sizeof what, "persons who share %s with too few", attack_name[i]);
    before_after(b, what, before->known_codes[i].persons, after->known_codes[i].persons, before->persons, after->persons);
  }
  buf_puts(b, "</table>");
}
