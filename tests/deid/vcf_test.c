/* Genomes through the wall: real files against a slow independent reader, canaries in every place of a VCF, damage, policy. */
#include "deid_helper.h"

#include <fcntl.h>
#include <htslib/vcf.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/random.h"
#include "deid/vcf_clean.h"

#define OKAY(call)                                                            \
  do {                                                                        \
    struct error okay_e_ = {0};                                               \
    struct error *e = &okay_e_;                                               \
    int okay_rc_ = (call);                                                    \
    if (okay_rc_ < 0) {                                                       \
      error_print(stderr, e);                                                 \
      fail_msg("%s:%d: %s returned %d", __FILE__, __LINE__, #call, okay_rc_); \
    }                                                                         \
  } while (0)

/* ---- a sink that keeps blobs as files ---- */

enum { GENOMES = 400 };
struct genome_sink {
  char dir[64];
  struct deid *wall;
  char next[4096], file[GENOMES][128], code[GENOMES][48];
  int64_t subject[GENOMES];
  int n, events, rejected;
  char reason[320];
};

static int keep_blob(void *ctx, const char *temporary, char hex[65], struct error *e) {
  struct genome_sink *g = ctx;
  uint8_t digest[32];
  TRY(sha256_file(temporary, digest, e));
  hash_hex(digest, 32, hex);
  snprintf(g->next, sizeof g->next, "%s", temporary);
  return OK;
}
static int keep_genome(void *ctx, const struct event *ev, struct error *e) {
  struct genome_sink *g = ctx;
  g->events++;
  if (event_blob(ev).n == 0) return OK;
  assert_int_equal(event_blob(ev).n, 64);
  assert_true(event_time(ev) == TIME_STATIC);
  assert_true(g->n < GENOMES);
  char name[32];
  snprintf(name, sizeof name, "clean-%d.vcf.gz", g->n);
  TRY(file_join(g->file[g->n], sizeof g->file[0], g->dir, name, e));
  assert_int_equal(rename(g->next, g->file[g->n]), 0);
  copy_str(g->code[g->n], sizeof g->code[0], event_code(ev));
  g->subject[g->n++] = event_subject(ev);
  return OK;
}
static int to_wall(void *ctx, const struct record *r, struct error *e) { return deid_take(((struct genome_sink *)ctx)->wall, r, e); }
static void count_reject(void *ctx, const struct record_reject *r) {
  struct genome_sink *g = ctx;
  g->rejected++;
  snprintf(g->reason, sizeof g->reason, "%s", r->reason);
}

static void fields_path(char out[4096]) { OKAY(file_join(out, 4096, file_data_dir(), "policy/vcf-fields.json", e)); }

static void genomes_new(struct genome_sink *g) {
  memset(g, 0, sizeof *g);
  strcpy(g->dir, "/tmp/vitae-vcf-XXXXXX");
  assert_non_null(mkdtemp(g->dir));
}
static void genomes_free(struct genome_sink *g) { OKAY(file_remove_tree(g->dir, e)); }

/* Runs a file or directory through reader and wall; the manifest goes to `manifest` if given. */
static void through(struct genome_sink *g, const char *path, const char *policy, struct vault *vault, struct buf *manifest) {
  char file[4096], name[64], fields[4096];
  struct deid_policy p;
  struct record_stats stats = {0};
  snprintf(name, sizeof name, "policy/%s.json", policy);
  OKAY(file_join(file, sizeof file, file_data_dir(), name, e));
  OKAY(deid_policy_load(file, &p, e));
  fields_path(fields);
  struct vault *own = NULL;
  if (!vault) OKAY(vault_open_memory(&own, e));
  struct event_sink out = {.ctx = g, .event = keep_genome, .blob = keep_blob, .blob_dir = g->dir};
  struct record_sink sink = {.ctx = g, .record = to_wall, .reject = count_reject};
  OKAY(deid_open(&p, vault ? vault : own, "vcf", &out, &g->wall, e));
  OKAY(genome_read(path, fields, &sink, &stats, e));
  OKAY(deid_finish(g->wall, e));
  if (manifest) {
    struct json_out o;
    json_out_init(&o, manifest, false);
    deid_manifest(g->wall, &o);
  }
  deid_close(g->wall);
  g->wall = NULL;
  if (own) vault_close(own);
}

static void slurp(const char *path, struct arena *a, struct str *out) {
  struct stream s;
  OKAY(stream_open(&s, path, e));
  OKAY(stream_all(&s, a, 256 << 20, out, e));
  stream_close(&s);
}

static void write_text(const char *path, const char *text, size_t n) { OKAY(file_write_atomic(path, text, n, 0600, e)); }

/* ---- real files ---- */

static const char *data_dir(void) {
  const char *d = getenv("DATA");
  return d ? d : "../shared/data";
}
static bool have(const char *name, char out[4096]) {
  OKAY(file_join(out, 4096, data_dir(), name, e));
  if (file_exists(out) || file_is_dir(out)) return true;
  if (getenv("CI")) fail_msg("%s is not there", name);
  return false;
}

static const char *oracle(void) {
  static const char *const tries[] = {"tests/oracle/vcf_oracle.py", "../tests/oracle/vcf_oracle.py", "../../../tests/oracle/vcf_oracle.py"};
  for (int i = 0; i < 3; i++)
    if (file_exists(tries[i])) return tries[i];
  fail_msg("tests/oracle/vcf_oracle.py not found");
  return NULL;
}

static void oracle_agrees(const char *in, const char *out, const char *sample, const char *kept) {
  char command[9000];
  snprintf(command, sizeof command, "python3 '%s' '%s' '%s' '%s' %s >/dev/null", oracle(), in, out, sample, kept);
  if (system(command) != 0) fail_msg("the independent reader does not agree");
}

/* Every column of every record is what it was, for every sample. */
static void real_genomes_keep_every_record(void **state) {
  (void)state;
  static const struct {
    const char *file;
    int samples;
    const char *code, *sample[5];
  } sets[] = {{"genomics-1000g/NA18537.vcf.gz", 1, "GENOME//VCF//GRCh37", {"NA18537"}},
              {"genomics-1000g/HG02102.vcf.gz", 1, "GENOME//VCF//GRCh37", {"HG02102"}},
              {"genomics-1000g/chr22.vcf.gz", 5, "GENOME//VCF", {"HG00096", "HG00097", "HG00099", "HG00100", "HG00101"}}};
  for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
    char path[4096];
    static struct genome_sink g;
    if (!have(sets[i].file, path)) skip();
    genomes_new(&g);
    through(&g, path, "expert", NULL, NULL);
    assert_int_equal(g.n, sets[i].samples);
    for (int k = 0; k < g.n; k++) {
      assert_string_equal(g.code[k], sets[i].code);
      oracle_agrees(path, g.file[k], sets[i].sample[k], "all");
      struct arena a;
      struct str text;
      arena_init(&a, 0, 0);
      slurp(g.file[k], &a, &text);
      assert_null(memmem(text.p, text.n, sets[i].sample[k], strlen(sets[i].sample[k])));
      char column[64];
      int n = snprintf(column, sizeof column, "FORMAT\t%lld\n", (long long)g.subject[k]);
      assert_non_null(memmem(text.p, text.n, column, (size_t)n));
      arena_free(&a);
    }
    genomes_free(&g);
  }
}

static void tabix_reads_it(void **state) {
  (void)state;
  char path[4096], command[9000], line[256] = "";
  static struct genome_sink g;
  if (system("command -v tabix >/dev/null") != 0 || !have("genomics-1000g/chr22.vcf.gz", path)) skip();
  genomes_new(&g);
  through(&g, path, "expert", NULL, NULL);
  snprintf(command, sizeof command, "tabix -p vcf '%s' && tabix '%s' 22:50300078-50300101 | wc -l", g.file[2], g.file[2]);
  FILE *f = popen(command, "r");
  assert_non_null(fgets(line, sizeof line, f));
  assert_int_equal(pclose(f), 0);
  assert_int_equal(atoi(line), 3);
  genomes_free(&g);
}

/* PharmCAT's tests: 4.1 to 4.3, hand-edited, some of them wrong on purpose. */
static void pharmcat_files_pass_or_are_refused(void **state) {
  (void)state;
  char path[4096], command[9000], dir[] = "/tmp/vitae-pharmcat-XXXXXX";
  static struct genome_sink g;
  if (!have("pharmcat/pharmcat_definitions_and_test_vcfs.tar.xz", path)) skip();
  assert_non_null(mkdtemp(dir));
  snprintf(command, sizeof command, "tar xJf '%s' -C %s", path, dir);
  assert_int_equal(system(command), 0);
  genomes_new(&g);
  struct buf manifest = {0};
  through(&g, dir, "expert", NULL, &manifest);
  assert_true(g.n > 250); /* 163 files, one of 100 samples */
  assert_true(g.rejected <= 4);
  snprintf(command, sizeof command, "%s/pharmcat_positions.vcf", dir);
  struct genome_sink *one = malloc(sizeof *one);
  genomes_new(one);
  through(one, command, "expert", NULL, NULL);
  assert_int_equal(one->n, 1);
  assert_string_equal(one->code[0], "GENOME//VCF//GRCh38");
  genomes_free(one);
  free(one);
  assert_non_null(strstr(buf_cstr(&manifest), "A genome identifies its person by itself"));
  buf_release(&manifest);
  genomes_free(&g);
  OKAY(file_remove_tree(dir, e));
}

/* ---- canaries ---- */

static const char hostile_vcf[] =
    "##fileformat=VCFv4.2\n"
    "##fileDate=20190304\n"
    "##source=/home/XQsource/pipeline.py\n"
    "##reference=file:///data/XQpath/hg38.fa\n"
    "##XQkeyCommandLine=<ID=x,CommandLine=\"call --sample XQcommand -o /mnt/XQdir/out.vcf\",Date=\"XQdate\">\n"
    "##bcftools_viewCommand=view XQview.vcf; Date=Thu Mar  4 2019\n"
    "##PG=<ID=XQpg>\n"
    "##SAMPLE=<ID=XQalpha,Name=\"Mary XQsurname\",MRN=XQ7781234,Description=\"blood of Mary XQsurname\",BirthDate=1961-03-04>\n"
    "##SAMPLE=XQunstructured\n"
    "##PEDIGREE=<Child=XQalpha,Mother=XQmother,Father=XQfather>\n"
    "##META=<ID=XQmeta,Type=String,Number=.,Values=[XQone, XQtwo]>\n"
    "##contig=<ID=chr1,length=248956422,assembly=XQassembly,species=\"XQspecies\",URL=ftp://XQhost/x.fa,md5=XQmd5>\n"
    "##contig=<ID=XQcontig,length=5>\n"
    "##INFO=<ID=AC,Number=A,Type=Integer,Description=\"XQdescription\",Source=\"XQinfosource\",Version=\"XQversion\">\n"
    "##INFO=<ID=XQkey,Number=1,Type=String,Description=\"x\">\n"
    "##INFO=<ID=CSQ,Number=XQnumber,Type=String,Description=\"x\">\n"
    "##INFO=<ID=ANN,Number=.,Type=XQtype,Description=\"x\">\n"
    "##INFO=<ID=encode_consensus_XQalpha,Number=.,Type=String,Description=\"x\">\n"
    "##FILTER=<ID=XQfilter,Description=\"x\">\n"
    "##FILTER=<ID=q10,Description=\"XQfilterwords\">\n"
    "##ALT=<ID=XQalt,Description=\"x\">\n"
    "##ALT=<ID=DEL,Description=\"XQaltwords\">\n"
    "##FORMAT=<ID=GT,Number=1,Type=String,Description=\"XQformat\">\n"
    "##FORMAT=<ID=XQf,Number=1,Type=String,Description=\"x\">\n"
    "##XQlonely\n"
    "##PEDIGREE\n"
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tXQalpha\tXQbeta\n"
    "chr1\t100\trs12;XQid\tA\tG,<DEL>\t50\tPASS\tAC=1,0;XQkey=XQvalue;CSQ=G|XQmother|x,C|ok\tGT:XQf:PID\t0/"
    "1:XQsub:XQalpha_1\t1|1:XQother:100_A_G\n"
    "chr1\t200\t.\tAC\tA\t.\tXQfilter;q10\tAC=XQnotanumber;ANN=A|gene1|/home/XQann/x\tGT:AD\t0/0:XQad\t./.:1,2\n"
    "chr1\t300\trs13\tA\t<XQalt>\t50\tPASS\tAC=1\tGT\t0/1\tXQgt\n"
    "XQcontig\t400\trs14\tA\tG\t50\tPASS\tAC=1\tGT\t0/1\t0/1\n"
    "chr1\t500\trs15\tA\tG\t50\tPASS\tANN=mary-1961-03-04,XQsurname;AA=g|||;AF=0.5;DP=XQdp;DB=XQflag\tGT:FT\t0/1:XQft\t0/1:PASS\n"
    "chr1\t600\trs16\tA\tA[chr1:700[\t50\tPASS\tMATEID=mail@XQhost.org\tGT\t0/1\t1/0\n"
    "chr1\t700\trs17\tA\tA[XQcontig:700[\t50\tPASS\t.\tGT\t0/1\t1/0\n"
    "chr1\t800\trs18\tA\tG\tXQqual\tPASS\t.\tGT\t0/1\t1/0\n"
    "chr1\tXQpos\trs19\tA\tG\t9\tPASS\t.\tGT\t0/1\t1/0\n"
    "chr1\t900\trs20\tXQref\tG\t9\tPASS\t.\tGT\t0/1\t1/0\n"
    "chr1\t910\trs21\tA\tG\t9\tPASS\t.\tXQf\tXQonly\t1/0\n"
    "chr1\t950\trs22\tA\tG,]chr1:9]T,<*>\t1e-3\tPASS\tEND=951\tGT:DP\t0/2\t./.:3:XQsurplus\n";

static void canaries_do_not_come_out(void **state) {
  (void)state;
  char path[128];
  static struct genome_sink g;
  genomes_new(&g);
  snprintf(path, sizeof path, "%s/in-XQname.vcf", g.dir);
  write_text(path, hostile_vcf, sizeof hostile_vcf - 1);
  struct buf manifest = {0};
  through(&g, path, "expert", NULL, &manifest);
  assert_int_equal(g.n, 2);
  assert_int_equal(g.rejected, 0);
  assert_string_equal(g.code[0], "GENOME//VCF//GRCh38");
  assert_null(strcasestr(buf_cstr(&manifest), "XQ"));
  for (int k = 0; k < 2; k++) {
    struct arena a;
    struct str text;
    arena_init(&a, 0, 0);
    slurp(g.file[k], &a, &text);
    for (size_t i = 0; i + 2 <= text.n; i++)
      if (strncasecmp(text.p + i, "XQ", 2) == 0) fail_msg("a canary came out: %.*s", (int)(text.n - i < 30 ? text.n - i : 30), text.p + i);
    static const char *const gone[] = {"/home", "/mnt", "Mary", "mary", "2019", "1961", "ftp", "surname", "7781234", "@"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) assert_null(memmem(text.p, text.n, gone[i], strlen(gone[i])));
    oracle_agrees(path, g.file[k], k ? "XQbeta" : "XQalpha", "some");
    arena_free(&a);
  }
  struct arena a;
  struct str text;
  arena_init(&a, 0, 0);
  slurp(g.file[1], &a, &text);
  const char *body = memmem(text.p, text.n, "\nchr1", 5);
  assert_non_null(body);
  static const char want[] =
      "\nchr1\t100\trs12\tA\tG,<DEL>\t50\tPASS\t.\tGT:PID\t1|1:100_A_G\n"
      "chr1\t200\t.\tAC\tA\t.\tq10\t.\tGT:AD\t./.:1,2\n"
      "chr1\t500\trs15\tA\tG\t50\tPASS\tAA=g|||\tGT:FT\t0/1:PASS\n"
      "chr1\t600\trs16\tA\tA[chr1:700[\t50\tPASS\t.\tGT\t1/0\n"
      "chr1\t950\trs22\tA\tG,]chr1:9]T,<*>\t1e-3\tPASS\tEND=951\tGT:DP\t./.:3\n";
  assert_int_equal((size_t)(text.p + text.n - body), sizeof want - 1);
  assert_memory_equal(body, want, sizeof want - 1);
  arena_free(&a);
  buf_release(&manifest);
  genomes_free(&g);
}

/* A genotype names alleles of its record: other digits may be a date or a record's number. */
static void genotypes_name_alleles_that_there_are(void **state) {
  (void)state;
  static const struct {
    const char *alt, *in, *want;
  } rows[] = {
      {"A", "19500102/4412345678", "."},
      {"A", "////0||", "."},
      {"A", "0/9", "."},
      {"A", "0/", "."},
      {"A", "01/1", "."},
      {"A", "0//1", "."},
      {"A", "0.1", "."},
      {".", "0/1", "."},
      {"A", "/", "."},
      {"A", "4294967296", "."},
      {"A", "0|1", "0|1"},
      {"A", "./1", "./1"},
      {"A", "1", "1"},
      {".", "0/0", "0/0"},
      {"A,T", "1/2|0", "1/2|0"},
      {"A", "|0/1", "|0/1"},
      {"A", "/1", "/1"},
      {"A,C,T", "3/3", "3/3"},
      {"A", "./.", "./."},
  };
  enum { ROWS = sizeof rows / sizeof rows[0] };
  char path[128];
  static struct genome_sink g;
  struct buf in = {0}, want = {0}, manifest = {0};
  genomes_new(&g);
  snprintf(path, sizeof path, "%s/in.vcf", g.dir);
  buf_printf(&in, "##fileformat=VCFv4.4\n##contig=<ID=1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts\n");
  for (int i = 0; i < ROWS; i++) {
    buf_printf(&in, "1\t%d\t.\tG\t%s\t.\t.\t.\tGT\t%s\n", i + 1, rows[i].alt, rows[i].in);
    buf_printf(&want, "\n1\t%d\t.\tG\t%s\t.\t.\t.\tGT\t%s", i + 1, rows[i].alt, rows[i].want);
  }
  buf_printf(&want, "\n");
  write_text(path, in.p, in.n);
  through(&g, path, "expert", NULL, &manifest);
  assert_int_equal(g.n, 1);
  struct arena a;
  struct str text;
  arena_init(&a, 0, 0);
  slurp(g.file[0], &a, &text);
  assert_non_null(memmem(text.p, text.n, want.p, want.n));
  assert_non_null(strstr(buf_cstr(&manifest), "\"genome_fields_dropped\":10"));
  arena_free(&a);
  buf_release(&in);
  buf_release(&want);
  buf_release(&manifest);
  genomes_free(&g);
}

/* ---- policy, place, counts ---- */

static void genomes_pass_only_where_the_policy_says_so(void **state) {
  (void)state;
  char path[128];
  static struct genome_sink g;
  static const char *const names[] = {"safe-harbor", "limited"};
  genomes_new(&g);
  snprintf(path, sizeof path, "%s/in.vcf", g.dir);
  write_text(path, hostile_vcf, sizeof hostile_vcf - 1);
  for (int i = 0; i < 2; i++) {
    struct buf manifest = {0};
    through(&g, path, names[i], NULL, &manifest);
    assert_int_equal(g.n, 0);
    assert_int_equal(g.events, 0);
    assert_non_null(strstr(buf_cstr(&manifest), "\"object-refused-by-policy\":2"));
    assert_null(strstr(buf_cstr(&manifest), "A genome identifies"));
    buf_release(&manifest);
  }
  genomes_free(&g);
}

static void without_a_place_they_are_counted(void **state) {
  (void)state;
  char path[128], file[4096];
  static struct genome_sink g;
  struct deid_policy p;
  struct vault *v;
  struct record_object object = {.kind = OBJECT_GENOME, .path = path, .member = "XQalpha"}, image = {.kind = OBJECT_DICOM, .path = path};
  struct record r = {.kind = RECORD_EVENT, .person = STR("XQalpha"), .code = STR("GENOME//VCF"), .value = NAN, .object = &object};
  r.time.us = TIME_STATIC;
  genomes_new(&g);
  snprintf(path, sizeof path, "%s/nowhere.vcf", g.dir);
  OKAY(file_join(file, sizeof file, file_data_dir(), "policy/expert.json", e));
  OKAY(deid_policy_load(file, &p, e));
  OKAY(vault_open_memory(&v, e));
  struct event_sink out = {.ctx = &g, .event = keep_genome};
  OKAY(deid_open(&p, v, "vcf", &out, &g.wall, e));
  OKAY(deid_take(g.wall, &r, e));
  assert_int_equal(g.events, 0);
  r.object = &image;
  r.code = STR("DCM//CT");
  OKAY(deid_take(g.wall, &r, e)); /* the event of an image stays, the image does not */
  assert_int_equal(g.events, 1);
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  deid_manifest(g.wall, &o);
  assert_non_null(strstr(buf_cstr(&b), "\"object-without-a-place\":2"));
  buf_release(&b);
  deid_close(g.wall);
  vault_close(v);
  genomes_free(&g);
}

/* ---- many samples, the same bytes twice ---- */

static void many_samples(const char *path, int samples, int records) {
  struct buf b = {0};
  buf_puts(&b, "##fileformat=VCFv4.3\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT");
  for (int i = 0; i < samples; i++) buf_printf(&b, "\tsample%04d", i);
  for (int r = 0; r < records; r++) {
    buf_printf(&b, "\n7\t%d\trs%d\tA\tC\t.\tPASS\tAN=%d\tGT:DP", 1000 + r, r + 1, 2 * samples);
    for (int i = 0; i < samples; i++) buf_printf(&b, "\t%d|%d:%d", i & 1, r & 1, i * 1000 + r);
  }
  buf_putc(&b, '\n');
  write_text(path, b.p, b.n);
  buf_release(&b);
}

static void every_sample_gets_its_own_column(void **state) {
  (void)state;
  enum { SAMPLES = 2 * VCF_BATCH + 5, RECORDS = 40 };
  char path[128];
  static struct genome_sink g, again;
  struct vault *v;
  genomes_new(&g);
  genomes_new(&again);
  snprintf(path, sizeof path, "%s/many.vcf", g.dir);
  many_samples(path, SAMPLES, RECORDS);
  OKAY(vault_open_memory(&v, e));
  through(&g, path, "expert", v, NULL);
  through(&again, path, "expert", v, NULL);
  assert_int_equal(g.n, SAMPLES);
  for (int i = 0; i < SAMPLES; i++) {
    struct arena a;
    struct str one, two;
    char want[64];
    arena_init(&a, 0, 0);
    OKAY(file_read(&a, g.file[i], 1 << 20, &one, e));
    OKAY(file_read(&a, again.file[i], 1 << 20, &two, e));
    assert_true(str_eq(one, two)); /* the same person, the same bytes */
    slurp(g.file[i], &a, &one);
    for (int r = 0; r < RECORDS; r += 13) {
      int n = snprintf(want, sizeof want, "GT:DP\t%d|%d:%d\n", i & 1, r & 1, i * 1000 + r);
      assert_non_null(memmem(one.p, one.n, want, (size_t)n));
    }
    for (int k = 0; k < i; k++) assert_true(g.subject[k] != g.subject[i]);
    arena_free(&a);
  }
  vault_close(v);
  genomes_free(&g);
  genomes_free(&again);
}

/* ---- BCF ---- */

static void bcf_says_the_same(void **state) {
  (void)state;
  char text[128], binary[128];
  static struct genome_sink g;
  genomes_new(&g);
  snprintf(text, sizeof text, "%s/a.vcf", g.dir);
  snprintf(binary, sizeof binary, "%s/a.bcf", g.dir);
  static const char in[] =
      "##fileformat=VCFv4.2\n##FILTER=<ID=PASS,Description=\"x\">\n##contig=<ID=chr2,length=242193529>\n"
      "##INFO=<ID=AC,Number=A,Type=Integer,Description=\"x\">\n##INFO=<ID=DB,Number=0,Type=Flag,Description=\"x\">\n"
      "##FORMAT=<ID=GT,Number=1,Type=String,Description=\"x\">\n##FORMAT=<ID=DP,Number=1,Type=Integer,Description=\"x\">\n"
      "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tperson one\tperson two\n"
      "chr2\t10\trs1\tA\tC,T\t30\tPASS\tAC=1,1;DB\tGT:DP\t0/1:7\t1|2:.\n"
      "chr2\t20\t.\tAG\tA\t.\t.\tAC=2\tGT:DP\t./.:.\t1/1:90\n";
  write_text(text, in, sizeof in - 1);
  htsFile *from = hts_open(text, "r"), *to = hts_open(binary, "wb");
  assert_non_null(from);
  assert_non_null(to);
  bcf_hdr_t *h = bcf_hdr_read(from);
  bcf1_t *rec = bcf_init();
  assert_int_equal(bcf_hdr_write(to, h), 0);
  while (bcf_read(from, h, rec) == 0) assert_int_equal(bcf_write(to, h, rec), 0);
  bcf_destroy(rec);
  bcf_hdr_destroy(h);
  hts_close(from);
  hts_close(to);
  struct vault *v;
  OKAY(vault_open_memory(&v, e));
  through(&g, text, "expert", v, NULL);
  through(&g, binary, "expert", v, NULL);
  assert_int_equal(g.n, 4);
  struct arena a;
  struct str one, two;
  arena_init(&a, 0, 0);
  for (int i = 0; i < 2; i++) {
    assert_true(g.subject[i] == g.subject[i + 2]);
    slurp(g.file[i], &a, &one);
    slurp(g.file[i + 2], &a, &two);
    assert_true(str_eq(one, two));
  }
  arena_free(&a);
  vault_close(v);
  genomes_free(&g);
}

/* ---- damage ---- */

static void cut_files_are_refused(void **state) {
  (void)state;
  char in[128], out[128];
  static struct genome_sink g;
  struct arena a;
  struct str bytes;
  genomes_new(&g);
  snprintf(in, sizeof in, "%s/many.vcf", g.dir);
  many_samples(in, 3, 4000);
  through(&g, in, "expert", NULL, NULL);
  assert_int_equal(g.n, 3);
  arena_init(&a, 0, 0);
  OKAY(file_read(&a, g.file[0], 1 << 24, &bytes, e));
  snprintf(out, sizeof out, "%s/cut.vcf.gz", g.dir);
  for (size_t n = 0; n < bytes.n; n += 1 + bytes.n / 37) { /* the last of them lacks only a part of the end mark */
    write_text(out, bytes.p, n);
    g.rejected = 0;
    through(&g, out, "expert", NULL, NULL);
    assert_int_equal(g.rejected, 1);
    assert_int_equal(g.n, 3);
  }
  write_text(out, bytes.p, bytes.n - 28); /* whole blocks, no end mark */
  g.rejected = 0;
  through(&g, out, "expert", NULL, NULL);
  assert_int_equal(g.rejected, 1);
  assert_non_null(strstr(g.reason, "cut"));
  write_text(out, bytes.p, bytes.n);
  through(&g, out, "expert", NULL, NULL);
  assert_int_equal(g.n, 4);
  arena_free(&a);
  genomes_free(&g);
}

#define V "##fileformat=VCFv4.2\n"
#define C "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
#define ROW "1\t1\t.\tA\tC\t.\t.\t.\tGT\t0/1"
static void malformed_files_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"",
                                    "\n",
                                    "hello",
                                    V,
                                    C "\tFORMAT\ts\n" ROW "\n",
                                    "##fileformat=VCFv9\n" C "\tFORMAT\ts\n" ROW "\n",
                                    "##fileformat=VCFv4.2x\n" C "\tFORMAT\ts\n" ROW "\n",
                                    V C "\n1\t1\t.\tA\tC\t.\t.\t.\n",
                                    V C "\tFORMAT\n1\t1\t.\tA\tC\t.\t.\t.\tGT\n",
                                    V C "\tFORMAT\ts\ts\n" ROW "\t0/1\n",
                                    V C "\tFORMAT\ts\t\n" ROW "\t0/1\n",
                                    V C "\tSHAPE\ts\n" ROW "\n",
                                    V "#CHROM\tPOS\n",
                                    V C "\tFORMAT\ts\n" ROW "\t0/0\n",
                                    V C "\tFORMAT\ts\n1\t1\t.\tA\tC\t.\t.\t.\tGT\n",
                                    V C "\tFORMAT\ts\n" ROW "\n\n" ROW "\n",
                                    V C "\tFORMAT\ts\n" ROW "\n#CHROM\t1\t.\tA\tC\t.\t.\t.\tGT\t0/1\n",
                                    V C "\tFORMAT\ts\n" ROW "\001\n",
                                    V C "\tFORMAT\ts\033[2J\n" ROW "\n",
                                    "BCF\2\2\xff\xff\xff\xff",
                                    "BCF\2\2\4\0\0\0xx",
                                    "\x1f\x8b\x08\x04\0\0\0\0\0\xff\6\0BC\2\0"};
  char path[128];
  static struct genome_sink g;
  genomes_new(&g);
  snprintf(path, sizeof path, "%s/bad.vcf", g.dir);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    g.rejected = 0;
    write_text(path, bad[i], strlen(bad[i]));
    through(&g, path, "expert", NULL, NULL);
    if (g.rejected != 1 || g.n || g.events) fail_msg("malformed file %zu was taken", i);
  }
  static const char nul[] = V C "\tFORMAT\ts\n1\t1\t.\tA\0\tC\t.\t.\t.\tGT\t0/1\n";
  g.rejected = 0;
  write_text(path, nul, sizeof nul - 1);
  through(&g, path, "expert", NULL, NULL);
  assert_int_equal(g.rejected, 1);
  genomes_free(&g);
}

/* Bits flipped anywhere: taken or refused, never a crash, and never a path. */
static void random_damage(void **state) {
  (void)state;
  char path[128];
  static struct genome_sink g;
  struct rng r;
  char bad[sizeof hostile_vcf];
  rng_init(&r, 5, 5);
  for (int round = 0; round < 150; round++) {
    genomes_new(&g);
    snprintf(path, sizeof path, "%s/bad.vcf", g.dir);
    memcpy(bad, hostile_vcf, sizeof bad);
    size_t from = round & 1 ? 21 : 0;
    for (uint32_t k = 0; k <= rng_below(&r, 6); k++)
      bad[from + rng_below(&r, (uint32_t)(sizeof bad - 1 - from))] = "\t\n,;:<>=\"|/.0aXZ"[rng_below(&r, 16)];
    write_text(path, bad, sizeof bad - 1);
    through(&g, path, "expert", NULL, NULL);
    for (int i = 0; i < g.n; i++) {
      struct arena a;
      struct str text;
      arena_init(&a, 0, 0);
      slurp(g.file[i], &a, &text);
      assert_null(memmem(text.p, text.n, "Mary", 4)); /* a word that is nobody's name any more may be a note */
      assert_null(memmem(text.p, text.n, "/home", 5));
      arena_free(&a);
    }
    genomes_free(&g);
  }
}

static void memory_runs_out(void **state) {
  (void)state;
  char path[128], to[128], fields[4096];
  static struct genome_sink g;
  genomes_new(&g);
  snprintf(path, sizeof path, "%s/in.vcf", g.dir);
  snprintf(to, sizeof to, "%s/out.vcf.gz", g.dir);
  write_text(path, hostile_vcf, sizeof hostile_vcf - 1);
  fields_path(fields);
  struct error err;
  for (long n = 1;; n++) {
    struct vcf_rules *rules = NULL;
    struct vcf_split *s = NULL;
    struct vcf_counts c = {0};
    memset(&err, 0, sizeof err);
    arena_fail_at(n);
    int rc = vcf_rules_load(fields, &rules, &err);
    if (rc == OK) rc = vcf_split_open(rules, path, g.dir, &s, &err);
    if (rc == OK) rc = vcf_split_write(s, "XQbeta", "1", to, &c, &err);
    bool pending = arena_fail_pending();
    arena_fail_at(0);
    vcf_split_free(s);
    vcf_rules_free(rules);
    if (rc < 0) assert_false(file_exists(to));
    if (pending) {
      assert_int_equal(rc, OK);
      break;
    }
    assert_true(n < 5000);
    unlink(to);
  }
  genomes_free(&g);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(real_genomes_keep_every_record),
      cmocka_unit_test(tabix_reads_it),
      cmocka_unit_test(pharmcat_files_pass_or_are_refused),
      cmocka_unit_test(canaries_do_not_come_out),
      cmocka_unit_test(genotypes_name_alleles_that_there_are),
      cmocka_unit_test(genomes_pass_only_where_the_policy_says_so),
      cmocka_unit_test(without_a_place_they_are_counted),
      cmocka_unit_test(every_sample_gets_its_own_column),
      cmocka_unit_test(bcf_says_the_same),
      cmocka_unit_test(cut_files_are_refused),
      cmocka_unit_test(malformed_files_are_refused),
      cmocka_unit_test(random_damage),
      cmocka_unit_test(memory_runs_out),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
