/* The attack on keyed date shifts: whoever knows some true dates tries to find the shifts of everybody else. Against a keyed
 * linear hash with 5,050 key states, as in one published tool, three pairs are enough; here the shifts are independent random
 * numbers, so nothing may do better than guessing. Each bound below lies 4 to 5 standard deviations out. */
#include "deid_helper.h"

#include "base/random.h"
#include "deid/vault_rows.h"

enum { VAULTS = 200, KNOWN = 10, OTHERS = 100, MAX = 50 }; /* range of the published tool: -50..50 */

/* The shifts, read from the outside: shifted minus true date of an event that goes through the wall. */
static void shifts_of_a_vault(int32_t *shift, int64_t *subject, int n, struct deid_policy *p) {
  struct fixture f = {0};
  char person[24];
  assert_int_equal(vault_open_memory(&f.vault, NULL), OK);
  struct event_sink sink = {.ctx = &f.keep, .event = keep_event};
  assert_int_equal(deid_open(p, f.vault, "fhir", &sink, &f.wall, &f.e), OK);
  int64_t t = at("2020-06-15T12:00:00").us;
  for (int i = 0; i < n; i++) {
    snprintf(person, sizeof person, "Patient/%d", i); /* the same keys in every vault */
    take(&f, record_event(person, "LOINC//2160-0", "2020-06-15T12:00:00"));
    shift[i] = (int32_t)((f.keep.at[i].time - t) / TIME_DAY);
    subject[i] = f.keep.at[i].subject;
  }
  fixture_close(&f);
}

/* The linear model: shift = (a * weight(key) + b) mod 101 - 50 for one of 101 * 101 (a, b) that fits the known pairs. */
static int weight(int person) {
  char key[24];
  int w = 0, power = 1;
  int n = snprintf(key, sizeof key, "Patient/%d", person);
  for (int i = 0; i < n; i++, power = power * 131 % 101) w = (w + key[i] * power) % 101;
  return w;
}
static int linear_hits(const int32_t *shift) {
  int best_fit = -1, best_a = 0, best_b = 0, hits = 0;
  for (int a = 0; a < 101; a++)
    for (int b = 0; b < 101; b++) {
      int fit = 0;
      for (int i = 0; i < KNOWN; i++) fit += (a * weight(i) + b) % 101 - 50 == shift[i];
      if (fit > best_fit) best_fit = fit, best_a = a, best_b = b;
    }
  for (int i = KNOWN; i < KNOWN + OTHERS; i++) hits += (best_a * weight(i) + best_b) % 101 - 50 == shift[i];
  return hits;
}

static void ten_known_pairs_reveal_nothing(void **state UNUSED) {
  static int32_t shift[VAULTS][KNOWN + OTHERS];
  static int64_t subject[KNOWN + OTHERS], first[KNOWN + OTHERS];
  struct deid_policy p = policy_of("expert");
  p.shift_days_max = MAX;
  int nearest = 0, copied = 0, linear = 0, across = 0, same_subject = 0;
  double sum_xy = 0, sum_x = 0, sum_y = 0, sum_xx = 0, sum_yy = 0;
  long n = 0;
  for (int v = 0; v < VAULTS; v++) {
    shifts_of_a_vault(shift[v], subject, KNOWN + OTHERS, &p);
    if (v == 0) memcpy(first, subject, sizeof first);
    for (int i = 0; v && i < KNOWN + OTHERS; i++) same_subject += subject[i] == first[i];
    linear += linear_hits(shift[v]);
    for (int i = KNOWN; i < KNOWN + OTHERS; i++) {
      /* guess 1: the shift of the known person whose pseudonym is nearest; 2: that of known person i mod 10; 3: the same
       * person's shift in the vault before */
      int near = 0;
      for (int k = 1; k < KNOWN; k++)
        if (llabs(subject[k] / 4 - subject[i] / 4) < llabs(subject[near] / 4 - subject[i] / 4)) near = k;
      nearest += shift[v][near] == shift[v][i];
      copied += shift[v][i % KNOWN] == shift[v][i];
      if (v) across += shift[v - 1][i] == shift[v][i];
      double x = (double)subject[i] / (double)INT64_MAX, y = shift[v][i];
      sum_x += x, sum_y += y, sum_xy += x * y, sum_xx += x * x, sum_yy += y * y;
      n++;
    }
  }
  /* Given the known shifts, every guess hits with probability 1/100 on its own: 200 of 20,000, standard deviation 14. */
  int limit = 200 + 5 * 14;
  print_message("hits of %ld guesses: nearest %d, copied %d, linear %d, other vault %d (chance %ld)\n", n, nearest, copied, linear, across,
                n / 100);
  assert_true(nearest < limit && copied < limit && linear < limit && across < limit);
  assert_int_equal(same_subject, 0);
  double r = (n * sum_xy - sum_x * sum_y) / sqrt((n * sum_xx - sum_x * sum_x) * (n * sum_yy - sum_y * sum_y));
  assert_true(fabs(r) < 4 / sqrt((double)n));
}

/* Persons linked over three sources: whoever knows ten of them knows their dates in every source, and those dates agree; nobody else's
 * shift follows from it. Half of the vaults make keyed pseudonyms, which are a function of key and secret: the shifts are not. */
static void links_and_keyed_pseudonyms_reveal_nothing(void **state UNUSED) {
  static const char *const source[] = {"fhir", "omop54", "csv"};
  static int32_t shift[VAULTS][KNOWN + OTHERS], seen[3];
  static int64_t subject[3];
  int copied = 0, linear = 0, across = 0, nearest = 0, torn = 0;
  const char ns[] = "urn:mrn";
  for (int n = 0; n < VAULTS; n++) {
    struct deid_policy p = policy_of("expert");
    struct vault *v;
    struct str trusted = STR(ns);
    static int64_t who[KNOWN + OTHERS];
    p.shift_days_max = MAX;
    p.random_pseudonyms = n % 2;
    assert_int_equal(vault_open_memory(&v, NULL), OK);
    assert_int_equal(vault_link_namespaces(v, &trusted, 1, NULL), OK);
    for (int s = 0; s < 3; s++) {
      struct fixture f = {.vault = v};
      struct event_sink sink = {.ctx = &f.keep, .event = keep_event};
      char person[40], number[40];
      assert_int_equal(deid_open(&p, v, source[s], &sink, &f.wall, &f.e), OK);
      for (int i = 0; i < KNOWN + OTHERS; i++) {
        snprintf(person, sizeof person, "%s/%d", source[s], s == 1 ? KNOWN + OTHERS - i : i);
        snprintf(number, sizeof number, "%d", 70001 + i);
        struct record id = record_identifier(person, IDENTIFIER_MRN, number);
        id.ns = trusted;
        take(&f, id);
        take(&f, record_event(person, "LOINC//2160-0", "2020-06-15T12:00:00"));
        seen[s] = (int32_t)((f.keep.at[i].time - at("2020-06-15T12:00:00").us) / TIME_DAY);
        subject[s] = f.keep.at[i].subject;
        if (s == 0) shift[n][i] = seen[0], who[i] = subject[0];
        torn += s && (seen[s] != shift[n][i] || subject[s] != who[i]);
      }
      deid_close(f.wall);
      keep_free(&f.keep);
    }
    assert_int_equal(vault_persons(v), KNOWN + OTHERS);
    linear += linear_hits(shift[n]);
    for (int i = KNOWN; i < KNOWN + OTHERS; i++) {
      int near = 0;
      for (int k = 1; k < KNOWN; k++)
        if (llabs(who[k] / 4 - who[i] / 4) < llabs(who[near] / 4 - who[i] / 4)) near = k;
      nearest += shift[n][near] == shift[n][i];
      copied += shift[n][i % KNOWN] == shift[n][i];
      if (n) across += shift[n - 1][i] == shift[n][i];
    }
    vault_close(v);
  }
  print_message("linked persons, hits of %d guesses: nearest %d, copied %d, linear %d, other vault %d (chance %d)\n", VAULTS * OTHERS,
                nearest, copied, linear, across, VAULTS * OTHERS / (2 * MAX));
  int limit = 200 + 5 * 14;
  assert_int_equal(torn, 0);
  assert_true(nearest < limit && copied < limit && linear < limit && across < limit);
}

/* The published tool's shift under a random key: the same attacker must win there, or the test proves nothing. */
static void the_same_attack_breaks_a_linear_key(void **state UNUSED) {
  struct rng r;
  int32_t shift[KNOWN + OTHERS];
  int hits = 0;
  rng_init(&r, 5, 5);
  for (int v = 0; v < 20; v++) {
    int a = 1 + (int)rng_below(&r, 100), b = (int)rng_below(&r, 101);
    for (int i = 0; i < KNOWN + OTHERS; i++) shift[i] = (a * weight(i) + b) % 101 - 50;
    hits += linear_hits(shift);
  }
  print_message("linear key, hits of %d guesses: linear %d (chance %d)\n", 20 * OTHERS, hits, 20 * OTHERS / (2 * MAX));
  assert_int_equal(hits, 20 * OTHERS);
}

static void pseudonyms_say_nothing_of_order(void **state UNUSED) {
  static int32_t shift[2000];
  static int64_t subject[2000];
  struct deid_policy p = policy_of("expert");
  shifts_of_a_vault(shift, subject, 2000, &p);
  int rising = 0, bits[63] = {0};
  for (int i = 0; i < 2000; i++) {
    if (i) rising += subject[i] > subject[i - 1];
    for (int b = 0; b < 63; b++) bits[b] += subject[i] >> b & 1;
  }
  assert_in_range(rising, 900, 1100); /* variance of ascents is (n + 1) / 12: 13 */
  for (int b = 0; b < 63; b++) assert_in_range(bits[b], 1000 - 120, 1000 + 120);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ten_known_pairs_reveal_nothing),
      cmocka_unit_test(links_and_keyed_pseudonyms_reveal_nothing),
      cmocka_unit_test(the_same_attack_breaks_a_linear_key),
      cmocka_unit_test(pseudonyms_say_nothing_of_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
