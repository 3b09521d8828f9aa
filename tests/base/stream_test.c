#include "gz.h"

#include "base/random.h"

/* Reads every line into one text, each ended with '|'; returns the last code. */
static int lines(const char *path, size_t limit, struct buf *out, struct error *e) {
  struct stream s;
  struct str line;
  int rc = stream_open(&s, path, e);
  if (rc < 0) return rc;
  if (limit) s.line_limit = limit;
  uint64_t n = 0;
  while ((rc = stream_line(&s, &line, e)) == OK) {
    assert_int_equal(s.line, ++n);
    volatile char sum = 0;
    for (size_t i = 0; i < STREAM_PAD; i++) sum = (char)(sum + line.p[line.n + i]); /* readable, the sanitizer agrees */
    if (s.overlong) buf_putc(out, '!');
    buf_str(out, line);
    buf_putc(out, '|');
  }
  stream_close(&s);
  return rc;
}

static void check(const char *bytes, size_t n, size_t limit, const char *want) {
  for (int zipped = 0; zipped < 2; zipped++) {
    struct buf raw = {0}, got = {0};
    if (zipped)
      gz_member(&raw, bytes, n);
    else
      buf_put(&raw, bytes, n);
    assert_int_equal(lines(temp_file("lines", raw.p, raw.n), limit, &got, NULL), E_END);
    assert_string_equal(buf_cstr(&got), want);
    buf_release(&raw);
    buf_release(&got);
  }
}
#define CHECK(literal, limit, want) check(literal, sizeof(literal) - 1, limit, want)

TEST(line_ends) {
  CHECK("", 0, "");
  CHECK("\n", 0, "|");
  CHECK("a\nb\n", 0, "a|b|");
  CHECK("a\nb", 0, "a|b|");
  CHECK("a\r\nb\r\n", 0, "a|b|");
  CHECK("a\r\nb\r", 0, "a|b|");
  CHECK("a\rb\n", 0, "a\rb|");
  CHECK("\n\n\nx", 0, "|||x|");
  CHECK("\x1f", 0, "\x1f|");
}

TEST(overlong_lines_are_cut_and_skipped) {
  CHECK("abcdef\nok\n", 4, "!abcd|ok|");
  CHECK("abcd\nok\n", 4, "abcd|ok|");
  CHECK("abcdefghijkl", 4, "!abcd|");
  struct buf b = {0}, got = {0};
  buf_puts(&b, "first\n");
  for (int i = 0; i < 3000000; i++) buf_putc(&b, (char)('a' + i % 26));
  buf_puts(&b, "\nlast\n");
  check(b.p, b.n, 8, "first|!abcdefgh|last|");
  assert_int_equal(lines(temp_file("long", b.p, b.n), 0, &got, NULL), E_END); /* within the default limit: whole */
  assert_int_equal(got.n, b.n);
  buf_release(&b);
  buf_release(&got);
}

TEST(random_lines_across_windows) {
  struct rng r;
  rng_init(&r, 3, 0);
  struct buf text = {0}, want = {0}, raw = {0}, got = {0};
  for (int i = 0; i < 12000; i++) {
    uint32_t n = rng_below(&r, i % 1000 == 0 ? 700000 : 500);
    for (uint32_t k = 0; k < n; k++) buf_putc(&text, (char)('A' + (k * 7 + (uint32_t)i) % 50));
    buf_put(&want, text.p + text.n - n, n);
    buf_puts(&text, i % 3 ? "\n" : "\r\n");
    buf_putc(&want, '|');
  }
  assert_int_equal(lines(temp_file("plain", text.p, text.n), 0, &got, NULL), E_END);
  assert_int_equal(got.n, want.n);
  assert_memory_equal(got.p, want.p, want.n);
  for (size_t at = 0; at < text.n;) { /* many members of odd sizes, some empty, like bgzip */
    size_t n = rng_below(&r, 300000);
    if (n > text.n - at) n = text.n - at;
    gz_member(&raw, text.p + at, n);
    gz_member(&raw, "", 0);
    at += n;
  }
  buf_clear(&got);
  assert_int_equal(lines(temp_file("members.gz", raw.p, raw.n), 0, &got, NULL), E_END);
  assert_int_equal(got.n, want.n);
  assert_memory_equal(got.p, want.p, want.n);
  buf_release(&text);
  buf_release(&want);
  buf_release(&raw);
  buf_release(&got);
}

TEST(damaged_gzip) {
  struct buf raw = {0}, got = {0};
  char text[60000];
  for (size_t i = 0; i < sizeof text; i++) text[i] = i % 60 == 59 ? '\n' : (char)('a' + i * i % 23);
  gz_member(&raw, text, sizeof text);
  gz_member(&raw, text, sizeof text);
  struct error e = {0};
  for (size_t cut = 1; cut < raw.n; cut += cut < 40 ? 1 : 997) { /* every truncation is told, and whole lines come first */
    buf_clear(&got);
    int rc = lines(temp_file("cut.gz", raw.p, raw.n - cut), 0, &got, &e);
    size_t left = raw.n - cut;
    if (left < 2) continue; /* no magic left: plain bytes */
    if (left == raw.n / 2) {
      assert_int_equal(rc, E_END); /* ends between two members: nothing is wrong with that */
    } else {
      assert_int_equal(rc, E_CORRUPT);
      assert_non_null(strstr(e.file, "cut.gz"));
    }
    for (size_t i = 0, k = 0; i < got.n; i++, k = (k + 1) % sizeof text)
      if (got.p[i] != (text[k] == '\n' ? '|' : text[k])) fail_msg("wrong bytes before the failure");
    assert_int_equal(got.n % 60, 0);
  }
  raw.p[raw.n - 6] ^= 1; /* the CRC of the second member */
  buf_clear(&got);
  assert_int_equal(lines(temp_file("crc.gz", raw.p, raw.n), 0, &got, &e), E_CORRUPT);
  raw.p[raw.n - 6] ^= 1;
  buf_put(&raw, "\0\0\0\0", 4);
  buf_clear(&got);
  assert_int_equal(lines(temp_file("padded.gz", raw.p, raw.n), 0, &got, &e), E_END);
  assert_int_equal(got.n, 2 * sizeof text);
  buf_puts(&raw, "junk");
  buf_clear(&got);
  assert_int_equal(lines(temp_file("junk.gz", raw.p, raw.n), 0, &got, &e), E_CORRUPT);
  raw.p[3] = (char)0xff;
  buf_clear(&got);
  assert_true(lines(temp_file("header.gz", raw.p, raw.n), 0, &got, &e) < 0);
  buf_release(&raw);
  buf_release(&got);
}

TEST(reading_in_pieces) {
  struct buf raw = {0};
  char text[50000], got[60000];
  for (size_t i = 0; i < sizeof text; i++) text[i] = (char)(i * 31 >> 3);
  gz_member(&raw, text, 20000);
  gz_member(&raw, text + 20000, 30000);
  const char *paths[2];
  char plain[256], zipped[256];
  strcpy(plain, temp_file("p", text, sizeof text));
  strcpy(zipped, temp_file("p.gz", raw.p, raw.n));
  paths[0] = plain;
  paths[1] = zipped;
  for (int i = 0; i < 2; i++) {
    struct stream s;
    size_t n = 0, k;
    assert_int_equal(stream_open(&s, paths[i], NULL), OK);
    do {
      assert_int_equal(stream_read(&s, got + n, 777, &k, NULL), OK);
      n += k;
    } while (k);
    assert_int_equal(n, sizeof text);
    assert_memory_equal(got, text, n);
    assert_int_equal(s.bytes_in, s.size);
    stream_close(&s);
    stream_close(&s);
    struct arena a;
    struct str all;
    struct error e = {0};
    arena_init(&a, 0, ARENA_WIPE);
    assert_int_equal(stream_open(&s, paths[i], NULL), OK);
    assert_int_equal(stream_all(&s, &a, sizeof text, &all, &e), OK);
    stream_close(&s);
    assert_int_equal(all.n, sizeof text);
    assert_memory_equal(all.p, text, all.n);
    assert_int_equal(stream_open(&s, paths[i], NULL), OK);
    assert_int_equal(stream_all(&s, &a, sizeof text - 1, &all, &e), E_LIMIT);
    stream_close(&s);
    arena_free(&a);
  }
  buf_release(&raw);
}

TEST(pipes) {
  const char *path = temp("fifo");
  assert_int_equal(mkfifo(path, 0600), 0);
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    FILE *f = fopen(path, "w");
    for (int i = 0; f && i < 5; i++) {
      fprintf(f, "row %d\n", i);
      fflush(f);
    }
    if (f) fclose(f);
    _exit(0);
  }
  struct buf got = {0};
  assert_int_equal(lines(path, 0, &got, NULL), E_END);
  assert_string_equal(buf_cstr(&got), "row 0|row 1|row 2|row 3|row 4|");
  waitpid(pid, NULL, 0);
  buf_release(&got);
}

TEST(open_failures) {
  struct stream s;
  struct error e = {0};
  assert_int_equal(stream_open(&s, temp("absent"), &e), E_NOTFOUND);
  assert_string_equal(e.file, temp("absent"));
  assert_true(stream_open(&s, temp_dir, &e) < 0);
  char path[5000];
  memset(path, 'x', sizeof path);
  path[sizeof path - 1] = 0;
  assert_int_equal(stream_open(&s, path, &e), E_LIMIT);
}

TEST(survives_every_failing_allocation) {
  struct buf text = {0}, raw = {0};
  for (int i = 0; i < 300000; i++) buf_puts(&text, i % 100000 ? "x y z " : "\n");
  gz_member(&raw, text.p, text.n);
  temp_file("a", text.p, text.n);
  temp_file("a.gz", raw.p, raw.n);
  for (int zipped = 0; zipped < 2; zipped++)
    for (long n = 1;; n++) {
      struct stream s;
      struct str line;
      arena_fail_at(n);
      int rc = stream_open(&s, temp(zipped ? "a.gz" : "a"), NULL);
      if (rc == OK)
        while ((rc = stream_line(&s, &line, NULL)) == OK) {}
      bool hit = !arena_fail_pending();
      arena_fail_at(0);
      assert_int_equal(rc, hit ? E_NOMEM : E_END);
      stream_close(&s);
      if (!hit) break;
    }
  buf_release(&text);
  buf_release(&raw);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(line_ends),
      cmocka_unit_test(overlong_lines_are_cut_and_skipped),
      cmocka_unit_test(random_lines_across_windows),
      cmocka_unit_test(damaged_gzip),
      cmocka_unit_test(reading_in_pieces),
      cmocka_unit_test(pipes),
      cmocka_unit_test(open_failures),
      cmocka_unit_test(survives_every_failing_allocation),
  };
  return cmocka_run_group_tests(tests, temp_make, temp_remove);
}
