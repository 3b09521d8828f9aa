/* Foreign decoders that have been taken over. This program links its own TessBaseAPIRecognize and bcf_hdr_read in the place of Tesseract's and
 * htslib's: what an attacker's code would do once a file has given it the process. The child is ended or refused, the file is refused and
 * counted, nothing was written, and the next one is read. */
#include "../record/dicom_fixture.h"
#include "deid_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <htslib/vcf.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <tesseract/capi.h>

static char marker[96];
static volatile enum attack { NONE, WRITES, CALLS, RUNS } * attack; /* shared: the helper process was forked before */

static void strike(void) {
  int fd = -1;
  if (*attack == WRITES) fd = open(marker, O_WRONLY | O_CREAT, 0600);
  if (*attack == CALLS) fd = socket(AF_INET, SOCK_STREAM, 0);
  if (*attack == RUNS) (void)!execl("/usr/bin/touch", "touch", marker, (char *)NULL);
  if (fd >= 0) (void)!mkdir(marker, 0700); /* it is out */
  if (*attack != NONE) _exit(77);          /* refused: it gives up */
}

/* Reads nothing: whatever the image holds, there is no text in it. */
int TessBaseAPIRecognize(TessBaseAPI *t, ETEXT_DESC *monitor) {
  (void)t, (void)monitor;
  strike();
  return -1;
}
bcf_hdr_t *bcf_hdr_read(htsFile *f) {
  (void)f;
  strike();
  return NULL;
}

static int64_t counted(const struct deid *wall, const char *key) {
  struct buf b = {0};
  struct json_out o;
  struct json_parser *jp;
  struct json root;
  int64_t n = 0;
  json_out_init(&o, &b, false);
  deid_manifest(wall, &o);
  buf_reserve(&b, 64);
  assert_int_equal(json_parser_new(&jp, NULL), OK);
  assert_int_equal(json_parse(jp, b.p, b.n, b.cap, &root, NULL), OK);
  (void)json_i64(json_get(json_get(root, "dropped"), key), &n);
  json_parser_free(jp);
  buf_release(&b);
  return n;
}

struct taken {
  struct deid *wall;
  struct keep keep;
  char dir[64];
  int blobs, rejected;
  char reason[256];
};
static int to_wall(void *ctx, const struct record *r, struct error *e) { return deid_take(((struct taken *)ctx)->wall, r, e); }
static int keep_one(void *ctx, const struct event *ev, struct error *e) { return keep_event(&((struct taken *)ctx)->keep, ev, e); }
static void count_reject(void *ctx, const struct record_reject *r) {
  struct taken *t = ctx;
  t->rejected++;
  snprintf(t->reason, sizeof t->reason, "%s", r->reason);
}
static int keep_blob(void *ctx, const char *temporary, char hex[65], struct error *e) {
  (void)e;
  ((struct taken *)ctx)->blobs++;
  memset(hex, 'a', 64), hex[64] = 0;
  return unlink(temporary) == 0 ? OK : E_IO;
}

/* One file of either kind through reader and wall; the counts of the wall stay in t->wall until end(). */
static int take_file(struct taken *t, const char *path, bool image, struct vault *v, struct error *e) {
  struct deid_policy p;
  struct record_stats stats = {0};
  struct event_sink out = {.ctx = t, .event = keep_one, .blob = keep_blob, .blob_dir = t->dir};
  struct record_sink sink = {.ctx = t, .record = to_wall, .reject = count_reject};
  assert_int_equal(deid_policy_load("policy/expert.json", &p, e), OK);
  TRY(deid_open(&p, v, image ? "dicom" : "vcf", &out, &t->wall, e));
  return image ? dicom_read(path, &sink, &stats, e) : genome_read(path, "policy/vcf-fields.json", &sink, &stats, e);
}
static void begin(struct taken *t) {
  *t = (struct taken){.dir = "/tmp/vitae-confined-XXXXXX"};
  assert_non_null(mkdtemp(t->dir));
  snprintf(marker, sizeof marker, "%s/out", t->dir);
}
static void end(struct taken *t) {
  deid_close(t->wall);
  keep_free(&t->keep);
  assert_int_equal(file_remove_tree(t->dir, NULL), OK);
}

static void write_image(const char *dir, char path[128]) {
  enum { ROWS = 64, COLUMNS = 200 };
  static uint8_t pixels[ROWS * COLUMNS];
  struct wire w;
  for (int y = 20; y < 40; y++) /* strokes like letters */
    for (int x = 20; x < 160; x++) pixels[y * COLUMNS + x] = x % 10 < 3 ? 255 : 0;
  wire_begin(&w, "1.2.840.10008.1.2.1", "x");
  wire_text(&w, DICOM_SOP_CLASS, "UI", "1.2.840.10008.5.1.4.1.1.7");
  wire_text(&w, DICOM_SOP_INSTANCE, "UI", "1.2.3");
  wire_text(&w, 0x00080020, "DA", "20190102");
  wire_text(&w, DICOM_MODALITY, "CS", "OT");
  wire_text(&w, 0x00100020, "LO", "P-1");
  wire_u16(&w, 0x00280002, 1);
  wire_text(&w, 0x00280004, "CS", "MONOCHROME2");
  wire_u16(&w, 0x00280010, ROWS);
  wire_u16(&w, 0x00280011, COLUMNS);
  wire_u16(&w, 0x00280100, 8);
  wire_u16(&w, 0x00280101, 8);
  wire_u16(&w, 0x00280102, 7);
  wire_u16(&w, 0x00280103, 0);
  wire_bytes(&w, DICOM_PIXELS, "OB", pixels, sizeof pixels);
  snprintf(path, 128, "%s/image.dcm", dir);
  assert_int_equal(file_write_atomic(path, w.b.p, w.b.n, 0600, NULL), OK);
  buf_release(&w.b);
}

static void a_taken_over_reader_of_images(void **state) {
  (void)state;
  struct taken t;
  struct vault *v;
  struct error e = {0};
  char path[128];
  static const enum attack all[] = {WRITES, CALLS, RUNS};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    begin(&t);
    write_image(t.dir, path);
    assert_int_equal(vault_open_memory(&v, &e), OK);
    *attack = all[i];
    assert_int_equal(take_file(&t, path, true, v, &e), OK); /* the run goes on */
    assert_int_equal(t.blobs, 0);
    assert_int_equal(counted(t.wall, "object-not-cleanable"), 1);
    assert_int_not_equal(access(marker, F_OK), 0);
    *attack = NONE;
    struct record_sink sink = {.ctx = &t, .record = to_wall, .reject = count_reject};
    struct record_stats stats = {0};
    assert_int_equal(dicom_read(path, &sink, &stats, &e), OK); /* by the same helper */
    assert_int_equal(t.blobs, 1);
    end(&t);
    vault_close(v);
  }
}

static void write_genome(const char *dir, char path[128]) {
  static const char text[] = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tone\n";
  char bytes[9 + sizeof text] = "BCF\2\2";
  bytes[5] = sizeof text;
  memcpy(bytes + 9, text, sizeof text);
  snprintf(path, 128, "%s/genome.bcf", dir);
  assert_int_equal(file_write_atomic(path, bytes, sizeof bytes, 0600, NULL), OK);
}

static void a_taken_over_reader_of_genomes(void **state) {
  (void)state;
  struct taken t;
  struct vault *v;
  struct error e = {0};
  char path[128];
  static const enum attack all[] = {WRITES, CALLS, RUNS};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    begin(&t);
    write_genome(t.dir, path);
    assert_int_equal(vault_open_memory(&v, &e), OK);
    *attack = all[i];
    assert_int_equal(take_file(&t, path, false, v, &e), OK);
    assert_int_equal(t.rejected, 1);
    assert_int_equal(t.blobs, 0);
    assert_non_null(strstr(t.reason, all[i] == WRITES ? "BCF" : "hostile"));
    assert_int_not_equal(access(marker, F_OK), 0);
    end(&t);
    vault_close(v);
  }
}

/* Where the kernel confines nobody nothing foreign is decoded, and it is said why. */
static void without_seccomp(void **state) {
  (void)state;
  int status = 0;
  pid_t child = fork();
  if (child == 0) {
    struct taken t;
    struct vault *v;
    struct error e = {0};
    char path[128];
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
    if (!f || seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(seccomp), 0) != 0 ||
        seccomp_rule_add(f, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, PR_SET_SECCOMP, 0)) != 0 ||
        seccomp_load(f) != 0)
      _exit(1);
    begin(&t);
    write_image(t.dir, path);
    if (vault_open_memory(&v, &e) < 0) _exit(2);
    if (take_file(&t, path, true, v, &e) != E_UNAVAILABLE || !strstr(e.message, "seccomp") || t.blobs) _exit(3);
    end(&t);
    begin(&t);
    write_genome(t.dir, path);
    int rc = take_file(&t, path, false, v, &e);
    if (rc == OK ? t.rejected != 1 || !strstr(t.reason, "seccomp") : rc != E_UNAVAILABLE || !strstr(e.message, "seccomp")) _exit(4);
    end(&t);
    _exit(0);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
  attack = mmap(NULL, sizeof *attack, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (attack == MAP_FAILED) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_taken_over_reader_of_images), cmocka_unit_test(a_taken_over_reader_of_genomes),
                                     cmocka_unit_test(without_seccomp)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
