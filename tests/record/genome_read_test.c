/* The VCF reader: whom it finds, what it says of them, which files it takes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "record/record.h"
#include "record/vcf.h"

struct heard {
  struct buf all;
  int events, identifiers, dropped, rejected, files;
  uint64_t reject_row;
  int stop;
};

static int hear(void *ctx, const struct record *r, struct error *e) {
  struct heard *h = ctx;
  static const char *const kinds[] = {"event", "birth", "death", "identifier", "dropped"};
  if (h->stop && h->events + h->identifiers + h->dropped == h->stop) return error_set(e, E_CANCELLED, "stopped by the sink");
  h->events += r->kind == RECORD_EVENT;
  h->identifiers += r->kind == RECORD_IDENTIFIER;
  h->dropped += r->kind == RECORD_DROPPED;
  assert_true(r->time.us == TIME_STATIC);
  buf_printf(&h->all, "%s|%.*s|%.*s|%d|%.*s|%s|%llu|%s\n", kinds[r->kind], (int)r->person.n, r->person.n ? r->person.p : "", (int)r->code.n,
             r->code.n ? r->code.p : "", r->kind == RECORD_IDENTIFIER ? (int)r->identifier : -1, (int)r->text.n, r->text.n ? r->text.p : "",
             r->path, (unsigned long long)r->row, r->object ? r->object->member : "");
  if (r->object) {
    assert_int_equal(r->object->kind, OBJECT_GENOME);
    assert_true(file_exists(r->object->path));
  }
  return OK;
}
static void refuse(void *ctx, const struct record_reject *r) {
  struct heard *h = ctx;
  h->rejected++;
  h->reject_row = r->row;
  assert_true(r->reason[0] != 0);
}
static void begin(void *ctx, uint32_t index, const char *path) {
  struct heard *h = ctx;
  assert_int_equal(index, h->files++);
  assert_true(file_exists(path));
}

static int listen(struct heard *h, const char *path, struct record_stats *stats) {
  char fields[4096];
  struct error e = {0};
  struct record_sink sink = {.ctx = h, .record = hear, .reject = refuse, .file = begin};
  assert_int_equal(file_join(fields, sizeof fields, file_data_dir(), "policy/vcf-fields.json", NULL), OK);
  *stats = (struct record_stats){0};
  int rc = genome_read(path, fields, &sink, stats, &e);
  if (rc < 0 && rc != E_CANCELLED) error_print(stderr, &e);
  return rc;
}

static const char text[] =
    "##fileformat=VCFv4.3\n##fileDate=20200102\n##source=x\n##reference=GRCh38\n##fooCommandLine=<ID=x>\n"
    "##SAMPLE=<ID=s1,Name=\"Ann, \\\"A\\\" Lee\",MRN=12345,Description=\"liver\",DOB=1950-01-01>\n"
    "##PEDIGREE=<Child=s2,Mother=s1>\n##META=plain\n"
    "##contig=<ID=1,length=248956422>\n"
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts1\ts2\n"
    "1\t5\t.\tA\tC\t.\t.\t.\tGT\t0/1\t1/1\n";
static const char expected[] =
    "identifier|s1||17|s1|VCF.sample|1|\n"
    "identifier|s2||17|s2|VCF.sample|2|\n"
    "identifier|||2|20200102|VCF.fileDate|2|\n"
    "dropped|||-1||VCF.source|3|\n"
    "dropped|||-1||VCF.commandline|5|\n"
    "identifier|s1||0|Ann, \\\"A\\\" Lee|VCF.SAMPLE|6|\n"
    "identifier|s1||17|12345|VCF.SAMPLE|6|\n"
    "identifier|s1||18|liver|VCF.SAMPLE|6|\n"
    "identifier|s1||2|1950-01-01|VCF.SAMPLE|6|\n"
    "identifier|s2||0|s2|VCF.PEDIGREE|7|\n"
    "identifier|s2||0|s1|VCF.PEDIGREE|7|\n"
    "identifier|||18|plain|VCF.META|8|\n"
    "event|s1|GENOME//VCF//GRCh38|-1||VCF.sample|1|s1\n"
    "event|s2|GENOME//VCF//GRCh38|-1||VCF.sample|2|s2\n";

static void make(const char *dir, const char *name, const char *bytes, size_t n) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  assert_int_equal(file_write_atomic(path, bytes, n, 0600, NULL), OK);
}

static void says_who_is_there(void **state) {
  (void)state;
  char dir[] = "/tmp/vitae-genome-XXXXXX", path[128];
  struct heard h = {0};
  struct record_stats stats;
  assert_non_null(mkdtemp(dir));
  make(dir, "a.vcf", text, sizeof text - 1);
  snprintf(path, sizeof path, "%s/a.vcf", dir);
  assert_int_equal(listen(&h, path, &stats), OK);
  assert_string_equal(buf_cstr(&h.all), expected);
  assert_int_equal(stats.files, 1);
  assert_int_equal(stats.resources, 1);
  assert_int_equal(stats.records, 14);
  for (int stop = 1; stop < 14; stop++) { /* a sink that has enough is obeyed */
    struct heard less = {.stop = stop};
    assert_int_equal(listen(&less, path, &stats), E_CANCELLED);
    buf_release(&less.all);
  }
  buf_release(&h.all);
  assert_int_equal(file_remove_tree(dir, NULL), OK);
}

static void takes_the_vcf_files_of_a_directory(void **state) {
  (void)state;
  char dir[] = "/tmp/vitae-genome-XXXXXX", sub[64];
  struct heard h = {0};
  struct record_stats stats;
  assert_non_null(mkdtemp(dir));
  snprintf(sub, sizeof sub, "%s/b", dir);
  assert_int_equal(file_mkdirs(sub, 0700, NULL), OK);
  make(dir, "a.vcf", text, sizeof text - 1);
  make(dir, "a.vcf.gz.tbi", "index", 5);
  make(dir, "README", "words", 5);
  make(sub, "c.vcf.bgz", text, sizeof text - 1); /* the name does not decide what is inside */
  make(sub, "d.vcf", text, 300);
  assert_int_equal(listen(&h, dir, &stats), OK);
  assert_int_equal(h.files, 3);
  assert_int_equal(h.events, 4);
  assert_int_equal(h.rejected, 1);
  assert_int_equal(stats.rejected, 1);
  buf_release(&h.all);
  assert_int_equal(file_remove_tree(dir, NULL), OK);
}

static void nothing_of_a_broken_file_is_handed_on(void **state) {
  (void)state;
  char dir[] = "/tmp/vitae-genome-XXXXXX", path[128];
  struct heard h = {0};
  struct record_stats stats;
  struct buf b = {0};
  assert_non_null(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/a.vcf", dir);
  buf_puts(&b, text);
  for (int i = 0; i < 5000; i++) buf_printf(&b, "1\t%d\t.\tA\tC\t.\t.\t.\tGT\t0/1\t1/1\n", i + 6);
  buf_puts(&b, "1\t9\t.\tA\tC\t.\t.\t.\tGT\t0/1\n"); /* the very last line lacks a sample */
  make(dir, "a.vcf", b.p, b.n);
  assert_int_equal(listen(&h, path, &stats), OK);
  assert_int_equal(h.rejected, 1);
  assert_int_equal(h.reject_row, 5012);
  assert_int_equal(h.events + h.identifiers + h.dropped, 0);
  snprintf(path, sizeof path, "%s/pipe.vcf", dir); /* nobody writes to it: it is not waited for */
  assert_int_equal(mkfifo(path, 0600), 0);
  h.files = 0;
  assert_int_equal(listen(&h, path, &stats), OK);
  assert_int_equal(h.rejected, 2);
  buf_release(&b);
  buf_release(&h.all);
  assert_int_equal(file_remove_tree(dir, NULL), OK);
}

static void assemblies(void **state) {
  (void)state;
  static const struct {
    const char *key, *value, *key2, *value2, *want;
  } cases[] = {{"reference", "file:///x/hg19.fa", "source", "y", "GRCh37"},
               {"contig", "<ID=1,assembly=b37,length=249250621>", "reference", "GRCh37.p13", "GRCh37"},
               {"contig", "<ID=chr1,length=248387328>", "source", "y", "CHM13"},
               {"contig", "<ID=chr2,length=248387328>", "source", "y", ""},
               {"reference", "hg38", "contig", "<ID=1,length=249250621>", ""}, /* contradiction */
               {"reference", "mm10", "source", "y", ""}};
  struct arena a;
  struct json fields;
  char path[4096], out[16];
  arena_init(&a, 0, 0);
  assert_int_equal(file_join(path, sizeof path, file_data_dir(), "policy/vcf-fields.json", NULL), OK);
  assert_int_equal(json_load(&a, path, &fields, NULL), OK);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct vcf_meta meta[2] = {{str_c(cases[i].key), str_c(cases[i].value), 1}, {str_c(cases[i].key2), str_c(cases[i].value2), 2}};
    struct vcf_header h = {.meta = meta, .metas = 2};
    assert_int_equal(vcf_assembly(fields, &h, out), cases[i].want[0] != 0);
    assert_string_equal(out, cases[i].want);
  }
  arena_free(&a);
}

static void structured_values(void **state) {
  (void)state;
  struct str inside, key, value;
  assert_true(vcf_structured(STR("<A=1,B=\"x, \\\" y\",C=>"), &inside));
  assert_true(vcf_member(&inside, &key, &value) && str_eqc(key, "A") && str_eqc(value, "1"));
  assert_true(vcf_member(&inside, &key, &value) && str_eqc(key, "B") && str_eqc(value, "x, \\\" y"));
  assert_true(vcf_member(&inside, &key, &value) && str_eqc(key, "C") && value.n == 0);
  assert_false(vcf_member(&inside, &key, &value));
  static const char *const bad[] = {"<A>", "<=1>", "<A=\"x>", "<A=\"x\"y>", "<>", "<A=\"\\\">"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_true(vcf_structured(str_c(bad[i]), &inside));
    assert_false(vcf_member(&inside, &key, &value));
  }
  assert_false(vcf_structured(STR("A=1"), &inside));
  assert_false(vcf_structured(STR("<"), &inside));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(says_who_is_there), cmocka_unit_test(takes_the_vcf_files_of_a_directory),
                                     cmocka_unit_test(nothing_of_a_broken_file_is_handed_on), cmocka_unit_test(assemblies),
                                     cmocka_unit_test(structured_values)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
