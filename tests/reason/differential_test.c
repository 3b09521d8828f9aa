/* A small ontology, three diseases and a few cases, made up: what ranks first and why; what is left out of a case's own publication. */
#include "../base/helpers.h"

#include <math.h>

#include "base/json.h"
#include "reason/differential.h"
#include "reason/ontology.h"

static const char obo[] =
    "format-version: 1.4\n\n[Term]\nid: HP:0000001\nname: All\n\n[Term]\nid: HP:0000002\nname: Heart\nis_a: HP:0000001 ! All\n\n"
    "[Term]\nid: HP:0000003\nname: Hole in the heart\nalt_id: HP:0009003\nis_a: HP:0000002 {source=\"x\"} ! Heart\n\n"
    "[Term]\nid: HP:0000004\nname: Limb\nis_a: HP:0000001\n\n[Term]\nid: HP:0000005\nname: Short thumb\nis_a: HP:0000004\n\n"
    "[Term]\nid: HP:0000006\nname: Extra finger\nis_a: HP:0000004\n\n[Term]\nid: HP:0000007\nname: Fits\nis_a: HP:0000001\n\n"
    "[Term]\nid: HP:0009003\nname: obsolete Hole of old\nis_obsolete: true\n\n"
    "[Term]\nid: HP:0000099\nname: obsolete Hole\nis_obsolete: true\nreplaced_by: HP:0000003\n\n"
    "[Term]\nid: HP:0000098\nname: obsolete Frailty\nis_obsolete: true\n\n[Term]\nid: HP:0000097\nname: Pallor\nis_a: "
    "HP:0000001\n\n[Term]\nid: HP:0001419\nname: X-linked recessive\n\n[Term]\nid: HP:0003584\nname: Late onset\n\n[Typedef]\nid: "
    "part_of\n";
static const char hpoa[] =
    "#description: made "
    "up\ndatabase_id\tdisease_name\tqualifier\thpo_id\treference\tevidence\tonset\tfrequency\tsex\tmodifier\taspect\tbiocuration\n"
    "OMIM:1\tHeart and hand\t\tHP:0000003\tPMID:10\tPCS\t\t9/10\t\t\tP\tx\nOMIM:1\tHeart and "
    "hand\t\tHP:0000005\tPMID:10\tPCS\t\t90%\t\t\tP\tx\n"
    "OMIM:1\tHeart and hand\t\tHP:0000097\tPMID:10\tPCS\t\t5/10\t\t\tP\tx\n"
    "OMIM:1\tHeart and hand\t\tHP:0000098\tPMID:10\tPCS\t\t5/10\t\t\tP\tx\n"
    "OMIM:2\tFits alone\t\tHP:0000007\tOMIM:2\tTAS\t\tHP:0040280\t\t\tP\tx\nOMIM:2\tFits "
    "alone\tNOT\tHP:0000003\tOMIM:2\tTAS\t\t\t\t\tP\tx\n"
    "OMIM:3\tFingers\t\tHP:0000006\tPMID:30\tPCS\t\t\t\t\tP\tx\nOMIM:3\tFingers\t\tHP:0001419\tPMID:31\tPCS\t\t\t\t\tI\tx\n"
    "OMIM:3\tFingers\t\tHP:0003584\tPMID:31\tPCS\t\t\t\t\tC\tx\n"
    "OMIM:5\tTold twice\t\tHP:0000007\tPMID:60;PMID:61\tPCS\t\t2/2\t\t\tP\tx\n"
    "ORPHA:9\tNot asked\t\tHP:0000003\tORPHA:9\tTAS\t\t\t\t\tP\tx\n";
static const char cases[] =
    "{\"id\":\"a\",\"pmid\":\"PMID:50\",\"hpo\":[\"HP:0000006\",\"HP:0000007\"],\"disease\":{\"id\":\"OMIM:4\",\"label\":\"Newly told\"}}\n"
    "{\"id\":\"b\",\"pmid\":\"PMID:50\",\"hpo\":[\"HP:0000006\",\"HP:0000007\"],\"disease\":{\"id\":\"OMIM:4\",\"label\":\"Newly told\"}}\n"
    "{\"id\":\"c\",\"pmid\":\"PMID:51\",\"hpo\":[\"HP:0009003\",\"HP:0000005\"],\"hpo_excluded\":[\"HP:0000007\"],\"disease\":{\"id\":"
    "\"OMIM:1\",\"label\":\"Heart and hand\"}}\n";
/* Weights as a file has them: `ones` numbers from `first` on count 1 each, the network's units nothing. The first three: evidence, absence, likeness */
static const char *weights(int first, int ones) {
  enum { FEATURES = 34, HIDDEN = 16 };
  const struct {
    const char *name;
    int n, from, ones;
  } part[] = {{"mean", FEATURES, 0, 0},
              {"scale", FEATURES, 0, FEATURES},
              {"direct", FEATURES, first, ones},
              {"first", FEATURES * HIDDEN, 0, 0},
              {"bias", HIDDEN, 0, 0},
              {"second", HIDDEN, 0, 0},
              {"none", 3, 0, 1}};
  static char text[16384];
  int n = snprintf(text, sizeof text, "{\"networks\":[{");
  for (size_t k = 0; k < sizeof part / sizeof *part; k++) {
    n += snprintf(text + n, sizeof text - (size_t)n, "\"%s\":[", part[k].name);
    for (int i = 0; i < part[k].n; i++)
      n += snprintf(text + n, sizeof text - (size_t)n, "%s%d", i ? "," : "", i >= part[k].from && i < part[k].from + part[k].ones);
    n += snprintf(text + n, sizeof text - (size_t)n, "]%s", k + 1 < sizeof part / sizeof *part ? "," : "}],");
  }
  snprintf(text + n, sizeof text - (size_t)n, "\"gene_log_ratio\":5}");
  return text;
}

static struct differential *d;
static struct arena arena;

static struct differential_files files(void) {
  static char path[5][256];
  snprintf(path[0], 256, "%s", temp_file("hp.obo", obo, sizeof obo - 1));
  snprintf(path[1], 256, "%s", temp_file("hpoa", hpoa, sizeof hpoa - 1));
  snprintf(path[2], 256, "%s", temp_file("cases", cases, sizeof cases - 1));
  snprintf(path[3], 256, "%s", temp_file("weights", weights(0, 3), strlen(weights(0, 3))));
  static const char genes[] = "entrez\tsymbol\tdisease_id\n1\tGENE3\tOMIM:3\n1\tGENE3\tORPHA:11\n2\tGENE4\tORPHA:11\n";
  snprintf(path[4], 256, "%s", temp_file("genes", genes, sizeof genes - 1));
  return (struct differential_files){path[0], path[1], path[2], path[4], path[3], false};
}
static int make(void **state) {
  struct error e = {0};
  if (temp_make(state) < 0) return -1;
  struct differential_files f = files();
  arena_init(&arena, 64 << 20, 0);
  if (differential_open(&f, &d, &e) < 0) {
    error_print(stderr, &e);
    return -1;
  }
  return 0;
}
static int unmake(void **state) {
  differential_free(d);
  arena_free(&arena);
  return temp_remove(state);
}

static struct finding_case parse(const char *json) {
  struct json root;
  struct finding_case c;
  struct error e = {0};
  const char *path = temp_file("case.json", json, strlen(json));
  assert_int_equal(json_load(&arena, path, &root, &e), OK);
  if (finding_case_parse(d, root, &arena, &c, &e) < 0) fail_msg("%s", e.message);
  return c;
}
static int refusal(const char *json, struct error *e) {
  struct json root;
  struct finding_case c;
  *e = (struct error){0};
  assert_int_equal(json_load(&arena, temp_file("refused.json", json, strlen(json)), &root, e), OK);
  return finding_case_parse(d, root, &arena, &c, e);
}
static struct differential_answer rank(const char *json, const char *without) {
  struct differential_answer r;
  struct error e = {0};
  struct finding_case c = parse(json);
  struct str w = str_c(without);
  if (differential_rank(d, &c, 10, without ? &w : NULL, &arena, &r, &e) < 0) fail_msg("%s", e.message);
  return r;
}

TEST(the_ontology_is_read) {
  const struct ontology *o = differential_ontology(d);
  int hole = ontology_find(o, STR("HP:0000003"));
  const int *up;
  assert_true(hole >= 0);
  assert_int_equal(ontology_find(o, STR("HP:0009003")), hole); /* an alternative id */
  assert_int_equal(ontology_find(o, STR("HP:0000099")), hole); /* a replaced one */
  assert_int_equal(ontology_find(o, STR("HP:7")), -1);
  assert_int_equal(ontology_ancestors(o, hole, &up), 3);
  assert_text(ontology_name(o, hole), "Hole in the heart");
  assert_int_equal(differential_diseases(d), 5); /* ORPHA is not asked about */
  assert_int_equal(differential_cases(d), 3);
}

TEST(what_fits_ranks_first) {
  struct differential_answer r = rank("{\"hpo\":[\"HP:0000003\",\"HP:0000005\"]}", NULL);
  double sum = r.none;
  assert_int_equal(r.diseases, 5);
  assert_text(r.disease[0].id, "OMIM:1");
  assert_text(r.disease[0].name, "Heart and hand");
  assert_true(r.disease[0].probability > 0.5);
  for (int i = 0; i < r.diseases; i++) sum += r.disease[i].probability;
  assert_true(fabs(sum - 1) < 1e-9);
  assert_int_equal(r.disease[0].evidences, 2);
  for (int i = 0; i < 2; i++) assert_true(r.disease[0].evidence[i].log_ratio > 0);
  r = rank("{\"hpo\":[\"HP:0000007\"],\"hpo_excluded\":[\"HP:0000006\",\"HP:0000004\"]}", NULL);
  assert_text(r.disease[0].id, "OMIM:2");
  /* a finding that is always there, absent, speaks against */
  struct differential_answer with = rank("{\"hpo\":[\"HP:0000004\"],\"hpo_excluded\":[\"HP:0000005\"]}", NULL),
                             so = rank("{\"hpo\":[\"HP:0000004\"]}", NULL);
  double p = 0, q = 0;
  for (int i = 0; i < 5; i++) {
    if (str_eqc(with.disease[i].id, "OMIM:1")) p = with.disease[i].log_odds;
    if (str_eqc(so.disease[i].id, "OMIM:1")) q = so.disease[i].log_odds;
  }
  assert_true(p < q);
}

TEST(what_was_withdrawn_is_not_asked) {
  const struct ontology *o = differential_ontology(d);
  struct differential_answer r = rank("{\"hpo\":[\"HP:0000002\"]}", NULL);
  int old = ontology_find(o, STR("HP:0000098")), found[4];
  assert_true(old >= 0 && ontology_obsolete(o, old) && !ontology_obsolete(o, ontology_find(o, STR("HP:0000003"))));
  assert_true(
      str_eqc(ontology_name(o, ontology_find(o, STR("HP:0009003"))), "Hole in the heart")); /* its old id's own entry changes nothing */
  assert_int_equal(r.asks, 1);                                                              /* its like that stands is */
  assert_text(ontology_name(o, r.ask[0].term), "Pallor");
  assert_int_equal(ontology_search(o, STR("frailty"), found, 4), 0);
}

TEST(a_publication_can_be_left_out) {
  struct differential_answer r = rank("{\"hpo\":[\"HP:0000006\",\"HP:0000007\"]}", NULL);
  assert_text(r.disease[0].id, "OMIM:4");
  r = rank("{\"hpo\":[\"HP:0000006\",\"HP:0000007\"]}", "PMID:50"); /* the only one that told of it */
  assert_int_equal(r.diseases, 4);
  for (int i = 0; i < r.diseases; i++) assert_false(str_eqc(r.disease[i].id, "OMIM:4"));
  struct differential_place p;
  struct finding_case c = parse("{\"hpo\":[\"HP:0000006\",\"HP:0000007\"]}");
  struct error e = {0};
  struct str w = STR("PMID:50"), other = STR("PMID:51");
  assert_int_equal(differential_place(d, &c, STR("OMIM:4"), &w, &arena, &p, &e), OK);
  assert_int_equal(p.rank, 0);
  assert_int_equal(differential_place(d, &c, STR("OMIM:4"), &other, &arena, &p, &e), OK);
  assert_int_equal(p.rank, 1);
  /* annotations of that publication go too, those of others stay */
  r = rank("{\"hpo\":[\"HP:0000003\"]}", "PMID:10");
  bool there = false;
  for (int i = 0; i < r.diseases; i++)
    if (str_eqc(r.disease[i].id, "OMIM:1")) there = true, assert_true(!r.disease[i].annotated && r.disease[i].cases > 0);
  assert_true(there);
}

TEST(a_row_of_several_publications_goes_with_each) {
  struct differential_answer r = rank("{\"hpo\":[\"HP:0000007\"]}", NULL), without = rank("{\"hpo\":[\"HP:0000007\"]}", "PMID:61");
  bool before = false, after = false;
  for (int i = 0; i < r.diseases; i++) before |= str_eqc(r.disease[i].id, "OMIM:5");
  for (int i = 0; i < without.diseases; i++) after |= str_eqc(without.disease[i].id, "OMIM:5");
  assert_true(before && !after);
}

static const struct differential_disease *answered(const struct differential_answer *r, const char *id) {
  for (int i = 0; i < r->diseases; i++)
    if (str_eqc(r->disease[i].id, id)) return &r->disease[i];
  return NULL;
}
/* Rows of Orphanet speak for the disease of that name, and less for one that shares a gene; for what nothing else tells of they make no candidate */
TEST(orphanet_speaks_for_its_namesake) {
  static const char rows[] =
      "ORPHA:10\tFits, alone\t\tHP:0000097\tORPHA:10\tTAS\t\tHP:0040281\t\t\tP\tx\n"
      "ORPHA:11\tOf a gene\t\tHP:0000097\tORPHA:11\tTAS\t\tHP:0040281\t\t\tP\tx\n"
      "ORPHA:12\tNewly told\t\tHP:0000097\tORPHA:12\tTAS\t\tHP:0040281\t\t\tP\tx\n";
  struct differential_files f = files();
  struct differential *ours = d;
  struct buf text = {0};
  struct error e = {0};
  buf_printf(&text, "%s%s", hpoa, rows);
  f.annotations = temp_file("orphanet", text.p, text.n);
  buf_release(&text);
  assert_int_equal(differential_open(&f, &d, &e), OK);
  struct differential_answer r = rank("{\"hpo\":[\"HP:0000097\"]}", NULL), without = rank("{\"hpo\":[\"HP:0000097\"]}", "PMID:50");
  const struct differential_disease *named = answered(&r, "OMIM:2"), *gene = answered(&r, "OMIM:3"), *none = answered(&r, "OMIM:5");
  assert_true(named && gene && none);
  assert_true(named->orphanet == 1 && fabsf(gene->orphanet - 1 / sqrtf(2)) < 1e-6F &&
              none->orphanet == 0); /* one of the entry's two genes */
  assert_true(named->evidence[0].log_ratio > gene->evidence[0].log_ratio && gene->evidence[0].log_ratio > 0);
  assert_true(none->evidence[0].log_ratio < 0);
  assert_true(answered(&r, "OMIM:4") && answered(&r, "OMIM:4")->orphanet == 1 && !answered(&r, "OMIM:4")->annotated);
  assert_true(!answered(&without, "OMIM:4"));
  differential_free(d);
  d = ours;
}
/* A finding that one publication's cases alone have is the more telling where that publication is left out */
TEST(cases_left_out_leave_the_background) {
  struct differential_answer r = rank("{\"hpo\":[\"HP:0000006\"]}", NULL), without = rank("{\"hpo\":[\"HP:0000006\"]}", "PMID:50");
  assert_true(answered(&without, "OMIM:3")->evidence[0].log_ratio > answered(&r, "OMIM:3")->evidence[0].log_ratio + 0.5F);
  assert_true(answered(&without, "OMIM:3")->log_odds > answered(&r, "OMIM:3")->log_odds + 0.5);
}

static double odds_of(const struct differential_answer *r, const char *id) {
  for (int i = 0; i < r->diseases; i++)
    if (str_eqc(r->disease[i].id, id)) return r->disease[i].log_odds;
  fail_msg("%s is not there", id);
  return 0;
}
/* With weights that count sex and age alone: OMIM:3 is X-linked recessive and begins in old age */
TEST(sex_and_age_count) {
  struct differential_files f = files();
  struct differential *other, *ours = d;
  struct error e = {0};
  f.weights = temp_file("person", weights(28, 2), strlen(weights(28, 2)));
  assert_int_equal(differential_open(&f, &other, &e), OK);
  d = other;
  struct differential_answer none = rank("{\"hpo\":[\"HP:0000006\"]}", NULL),
                             boy = rank("{\"hpo\":[\"HP:0000006\"],\"sex\":\"MALE\"}", NULL),
                             girl = rank("{\"hpo\":[\"HP:0000006\"],\"sex\":\"FEMALE\"}", NULL),
                             child = rank("{\"hpo\":[\"HP:0000006\"],\"age\":\"P2Y6M\"}", NULL),
                             old = rank("{\"hpo\":[\"HP:0000006\"],\"age\":\"P70Y\"}", NULL);
  double at = odds_of(&none, "OMIM:3");
  assert_true(odds_of(&boy, "OMIM:3") > at && odds_of(&girl, "OMIM:3") < at);
  assert_true(odds_of(&old, "OMIM:3") > at && odds_of(&child, "OMIM:3") < at);
  assert_true(fabs(odds_of(&boy, "OMIM:2") - odds_of(&none, "OMIM:2")) < 1e-6); /* nothing is known of whom it strikes */
  /* rows of a publication that is left out say nothing of sex and age either */
  struct differential_answer boy_out = rank("{\"hpo\":[\"HP:0000006\"],\"sex\":\"MALE\"}", "PMID:31"),
                             out = rank("{\"hpo\":[\"HP:0000006\"]}", "PMID:31");
  assert_true(fabs(odds_of(&boy_out, "OMIM:3") - odds_of(&out, "OMIM:3")) < 1e-6);
  d = ours;
  differential_free(other);
}
TEST(ages_are_read) {
  static const struct {
    const char *text;
    float years;
  } ages[] = {{"P58Y", 58},          {"P2Y6M", 2.5F},        {"P1Y2M", 1 + 2 / 12.0F},
              {"P3W", 21 / 365.25F}, {"P10D", 10 / 365.25F}, {"P3DT12H", 3 / 365.25F}};
  static const char *const bad[] = {"", "P", "Y", "58", "P-3Y", "PxY", "P3", "P33", "P3Q", "P1e999Y", "PY"};
  char json[80];
  for (size_t i = 0; i < sizeof ages / sizeof *ages; i++) {
    snprintf(json, sizeof json, "{\"age\":\"%s\",\"sex\":\"female\"}", ages[i].text);
    struct finding_case c = parse(json);
    assert_true(fabsf(c.age - ages[i].years) < 1e-4F && c.sex == 2);
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    snprintf(json, sizeof json, "{\"age\":\"%s\",\"sex\":\"unknown\"}", bad[i]);
    struct error e;
    if (refusal(json, &e) != E_INPUT || strcmp(e.field, "age") != 0) fail_msg("%s: %s", bad[i], e.message);
  }
}

TEST(genes_count) {
  struct differential_answer r = rank("{\"hpo\":[\"HP:0000006\"]}", NULL),
                             g = rank("{\"hpo\":[\"HP:0000006\"],\"genes\":[\"GENE3\"]}", NULL);
  double p = 0, q = 0;
  for (int i = 0; i < r.diseases; i++)
    if (str_eqc(r.disease[i].id, "OMIM:3")) p = r.disease[i].log_odds;
  for (int i = 0; i < g.diseases; i++)
    if (str_eqc(g.disease[i].id, "OMIM:3")) q = g.disease[i].log_odds, assert_true(g.disease[i].gene);
  assert_true(fabs(q - p - 5) < 1e-9);
}
/* Two variants of one gene, a second gene of the same disease, a finding under its old id too: each says no more than once */
TEST(said_twice_counts_once) {
  static const char table[] = "symbol\tdisease_id\nGENE3\tOMIM:3\nGENE3\tOMIM:3\nGENE5\tOMIM:3\n";
  static const char *const same[][2] = {
      {"{\"hpo\":[\"HP:0000006\"],\"genes\":[\"GENE3\"]}", "{\"hpo\":[\"HP:0000006\"],\"genes\":[\"GENE3\",\"GENE5\",\"GENE3\"]}"},
      {"{\"hpo\":[\"HP:0000006\"],\"genes\":[\"GENE3\"]}",
       "{\"hpo\":[\"HP:0000006\"],\"variants\":[{\"gene\":\"GENE3\"},{\"gene\":\"GENE3\"}]}"},
      {"{\"hpo\":[\"HP:0000003\",\"HP:0000006\"]}", "{\"hpo\":[\"HP:0000003\",\"HP:0000006\",\"HP:0009003\",\"HP:0000006\"]}"},
      {"{\"hpo\":[\"HP:0000003\"],\"hpo_excluded\":[\"HP:0000006\"]}",
       "{\"hpo\":[\"HP:0000003\"],\"hpo_excluded\":[\"HP:0000006\",\"HP:0000006\"]}"},
      {"{\"hpo\":[\"HP:0000003\"],\"hpo_excluded\":[\"HP:0000006\"]}",
       "{\"phenotypicFeatures\":[{\"type\":{\"id\":\"HP:0000003\"}},{\"type\":{\"id\":\"HP:0000006\"},\"excluded\":true},"
       "{\"type\":{\"id\":\"HP:0000003\"}},{\"type\":{\"id\":\"HP:0000006\"},\"excluded\":true}]}"}};
  struct differential_files f = files();
  struct differential *ours = d;
  struct error e = {0};
  f.genes = temp_file("genes", table, sizeof table - 1);
  assert_int_equal(differential_open(&f, &d, &e), OK);
  for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
    struct differential_answer once = rank(same[i][0], NULL), twice = rank(same[i][1], NULL);
    assert_true(once.none == twice.none && once.diseases == twice.diseases);
    for (int k = 0; k < once.diseases; k++) {
      assert_true(str_eq(once.disease[k].id, twice.disease[k].id) && once.disease[k].log_odds == twice.disease[k].log_odds);
      assert_int_equal(once.disease[k].evidences, twice.disease[k].evidences);
    }
  }
  differential_free(d);
  d = ours;
}

/* Cases of three diseases, each told of by its own finding and, at random, others': what is learned puts the right one first, sharper than before */
TEST(weights_are_learned_from_cases) {
  static const char *const own[] = {"HP:0000003", "HP:0000006", "HP:0000007"};
  struct buf text = {0}, json = {0};
  struct differential *other;
  struct differential_lesson *lesson;
  struct error e = {0};
  struct differential_files f = files();
  for (int i = 0; i < 120; i++)
    buf_printf(&text, "{\"id\":\"c%d\",\"pmid\":\"PMID:%d\",\"hpo\":[\"%s\"%s%s%s],\"disease\":{\"id\":\"OMIM:%d\",\"label\":\"D\"}}\n", i,
               100 + i / 2, own[i % 3], i % 5 == 0 ? ",\"" : "", i % 5 == 0 ? own[(i + 1) % 3] : "", i % 5 == 0 ? "\"" : "", 10 + i % 3);
  f.annotations = NULL;
  f.cases = temp_file("many", text.p, text.n);
  assert_int_equal(differential_open(&f, &other, &e), OK);
  assert_int_equal(differential_lesson_new(other, &lesson, &e), OK);
  double p[2] = {0, 0};
  int first[2] = {0, 0};
  for (int after = 0; after < 2; after++) {
    if (after) assert_int_equal(differential_fit(other, lesson, 5, -1, &json, &e), OK);
    for (int i = 0; i < differential_cases(other); i++) {
      const struct finding_case *c = differential_case(other, i);
      struct differential_place at;
      assert_int_equal(differential_place(other, c, c->disease, &c->publication, &arena, &at, &e), OK);
      p[after] += at.probability;
      first[after] += at.rank == 1;
    }
  }
  assert_true(p[1] > p[0] && first[1] >= first[0] && first[1] >= 96); /* four in five have their own finding alone */
  assert_int_equal(differential_use(other, json.p, json.n, &e), OK);
  differential_lesson_free(lesson);
  differential_free(other);
  buf_release(&text);
  buf_release(&json);
}

/* Cases of a hospital: no publication, some without an id. Each is left out alone, never ranked by itself. */
TEST(a_case_without_a_publication_is_left_out_by_its_id) {
  static const char own[] =
      "{\"id\":\"a\",\"hpo\":[\"HP:0000006\"],\"disease\":{\"id\":\"OMIM:20\"}}\n{\"hpo\":[\"HP:0000007\"],\"disease\":{\"id\":\"OMIM:21\"}"
      "}\n"
      "{\"hpo\":[\"HP:0000003\"],\"disease\":{\"id\":\"OMIM:22\"}}\n";
  struct differential_files f = files();
  struct differential *other;
  struct error e = {0};
  f.annotations = f.genes = NULL;
  f.cases = temp_file("own", own, sizeof own - 1);
  assert_int_equal(differential_open(&f, &other, &e), OK);
  assert_int_equal(differential_cases(other), 3);
  for (int i = 0; i < 3; i++)
    for (int k = 0; k < 3; k++) {
      struct differential_place p;
      const struct finding_case *c = differential_case(other, i);
      struct str without = finding_case_source(differential_case(other, k));
      assert_true(without.n > 0);
      assert_int_equal(differential_place(other, c, c->disease, &without, &arena, &p, &e), OK);
      assert_true(i == k ? p.rank == 0 : p.rank > 0);
    }
  differential_free(other);
}

TEST(phenopackets_are_read) {
  struct finding_case c = parse(
      "{\"phenotypicFeatures\":[{\"type\":{\"id\":\"HP:0000003\"}},{\"type\":{\"id\":\"HP:0000007\"},\"excluded\":true},"
      "{\"type\":{\"id\":\"HP:7777777\"}}]}");
  assert_int_equal(c.n_observed, 1);
  assert_int_equal(c.n_excluded, 1);
  assert_int_equal(c.unknown, 1);
}

/* As published: the disease in a diagnosis and in a list, genes beneath interpretations, the publication in the references */
TEST(what_a_phenopacket_tells_is_read) {
  static const char packet[] =
      "{\"id\":\"p\",\"subject\":{\"sex\":\"FEMALE\",\"timeAtLastEncounter\":{\"age\":{\"iso8601duration\":\"P3Y\"}}},"
      "\"phenotypicFeatures\":[{\"type\":{\"id\":\"HP:0000003\"}}],\"diseases\":[{\"term\":{\"id\":\"OMIM:8\"},\"excluded\":true},"
      "{\"term\":{\"id\":\"OMIM:7\",\"label\":\"In a "
      "list\"}}],\"interpretations\":[{\"progressStatus\":\"%s\",\"diagnosis\":{\"disease\":{\"id\":"
      "\"OMIM:6\",\"label\":\"Diagnosed\"},\"genomicInterpretations\":[{\"interpretationStatus\":\"CAUSATIVE\",\"variantInterpretation\":"
      "{\"variationDescriptor\":{\"geneContext\":{\"symbol\":\"GENE3\"}}}},{\"gene\":{\"symbol\":\"GENE9\"}},{\"interpretationStatus\":"
      "\"REJECTED\","
      "\"gene\":{\"symbol\":\"GENE8\"}}]}}],\"metaData\":{\"externalReferences\":[{\"id\":\"DOI:1\"},{\"id\":\"PMID:5\"}]}}";
  struct differential *other;
  struct differential_files f = files();
  struct error e = {0};
  struct buf text = {0};
  for (int solved = 0; solved < 2; solved++) {
    text.n = 0;
    buf_printf(&text, packet, solved ? "SOLVED" : "UNSOLVED");
    struct finding_case c = parse(buf_cstr(&text));
    assert_text(c.disease, solved ? "OMIM:6" : "OMIM:7");
    assert_text(c.publication, "PMID:5");
    assert_true(c.sex == 2 && fabsf(c.age - 3) < 1e-6F && c.genes == 2);
    assert_text(c.gene[0], "GENE3");
    assert_text(c.gene[1], "GENE9");
    struct differential_answer r = rank(buf_cstr(&text), NULL);
    assert_true(answered(&r, "OMIM:3")->gene && r.genes_unknown == 1);
  }
  buf_printf(&text, "\n{\"id\":\"no disease\",\"hpo\":[\"HP:0000003\"]}\n");
  f.annotations = NULL;
  f.cases = temp_file("packets", text.p, text.n);
  assert_int_equal(differential_open(&f, &other, &e), OK);
  assert_true(differential_cases(other) == 1 && differential_skipped(other) == 1);
  assert_text(differential_case(other, 0)->disease, "OMIM:6");
  differential_free(other);
  buf_release(&text);
  assert_int_equal(parse("{\"phenotypicFeatures\":[{\"type\":{\"id\":\"HP:0000003\"},\"negated\":true}]}").n_excluded, 1); /* version 1 */
}
/* What would change nothing, though somebody said it */
TEST(what_would_be_passed_over_is_refused) {
  static const char *const bad[][2] = {{"{\"hpo\":[\"HP:0000003\"],\"sex\":\"F\"}", "sex"},
                                       {"{\"hpo\":[\"HP:0000003\"],\"sex\":2}", "sex"},
                                       {"{\"hpo\":[\"HP:0000003\"],\"age\":3}", "age"},
                                       {"{\"hpo\":\"HP:0000003\"}", "hpo"},
                                       {"{\"hpo\":[\"HP:0000003\"],\"hpo_excluded\":\"HP:0000006\"}", "hpo_excluded"},
                                       {"{\"hpo\":[\"HP:0000003\"],\"excluded\":[\"HP:0000006\"]}", ""},
                                       {"{\"hpo\":[\"HP:0000003\"],\"genes\":\"GENE3\"}", "genes"},
                                       {"{\"hpo\":[\"HP:0000003\"],\"genes\":[3]}", "genes"},
                                       {"{\"hpo\":[\"HP:0000003\"],\"variants\":[\"GENE3\"]}", "variants"},
                                       {"{\"hpo\":[\"HP:0000003\"],\"disease\":\"OMIM:1\"}", "disease"},
                                       {"{\"phenotypicFeatures\":{\"type\":{\"id\":\"HP:0000003\"}}}", "phenotypicFeatures"},
                                       {"{\"phenotypicFeatures\":[{\"type\":{\"id\":\"HP:0000003\"},\"excluded\":1}]}", "excluded"}};
  struct error e;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (refusal(bad[i][0], &e) != E_INPUT || strcmp(e.field, bad[i][1]) != 0) fail_msg("%s: %s %s", bad[i][0], e.field, e.message);
  assert_int_equal(refusal("{\"hpo\":[\"HP:0000003\"],\"sex\":null,\"age\":null,\"cohort\":\"x\",\"deceased\":true}", &e), OK);
  struct differential_answer r = rank("{\"hpo\":[\"HP:0000006\"],\"genes\":[\"gene3\",\"NOSUCH\",\"GENE4\",\"GENE3\"]}", NULL);
  assert_int_equal(r.genes_unknown, 3); /* GENE4 is Orphanet's alone */
}

TEST(bad_input_is_refused) {
  static const char *const bad[] = {"", "[Typedef]\nid: x\n", "[Term]\nid: A\nis_a: B\n\n[Term]\nid: B\nis_a: A\n"};
  struct differential_answer r;
  struct finding_case none = {0};
  struct error e = {0};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct ontology *o;
    int rc = ontology_parse(bad[i], strlen(bad[i]), &o, &e);
    if (rc == OK) {
      rc = ontology_seal(o, &e);
      ontology_free(o);
    }
    assert_int_equal(rc, E_INPUT);
  }
  assert_int_equal(differential_rank(d, &none, 10, NULL, &arena, &r, &e), E_INPUT);
  struct finding_case twice =
      parse("{\"hpo\":[\"HP:0000003\",\"HP:0009003\",\"HP:0000003\"],\"variants\":[{\"gene\":\"G\"},{\"gene\":\"G\"}]}");
  assert_int_equal(twice.n_observed, 1); /* by its old id as well */
  assert_int_equal(twice.genes, 1);
  struct json root;
  struct finding_case c;
  assert_int_equal(json_load(&arena, temp_file("x.json", "{\"hpo\":[1]}", 11), &root, &e), OK);
  assert_int_equal(finding_case_parse(d, root, &arena, &c, &e), E_INPUT);
  struct differential_files f = files();
  struct differential *other;
  f.weights = temp_file("short", "{\"weight\":[1]}", 14);
  assert_int_equal(differential_open(&f, &other, &e), E_INPUT);
  f = files();
  f.cases = temp_file("broken", "{\"hpo\":\n", 8);
  e = (struct error){0};
  assert_true(differential_open(&f, &other, &e) < 0);
  assert_int_equal((int)e.row, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(the_ontology_is_read),
                                     cmocka_unit_test(what_fits_ranks_first),
                                     cmocka_unit_test(what_was_withdrawn_is_not_asked),
                                     cmocka_unit_test(a_publication_can_be_left_out),
                                     cmocka_unit_test(a_row_of_several_publications_goes_with_each),
                                     cmocka_unit_test(orphanet_speaks_for_its_namesake),
                                     cmocka_unit_test(cases_left_out_leave_the_background),
                                     cmocka_unit_test(sex_and_age_count),
                                     cmocka_unit_test(ages_are_read),
                                     cmocka_unit_test(genes_count),
                                     cmocka_unit_test(said_twice_counts_once),
                                     cmocka_unit_test(weights_are_learned_from_cases),
                                     cmocka_unit_test(a_case_without_a_publication_is_left_out_by_its_id),
                                     cmocka_unit_test(phenopackets_are_read),
                                     cmocka_unit_test(what_a_phenopacket_tells_is_read),
                                     cmocka_unit_test(what_would_be_passed_over_is_refused),
                                     cmocka_unit_test(bad_input_is_refused)};
  return cmocka_run_group_tests_name("differential", tests, make, unmake);
}
