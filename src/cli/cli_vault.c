/* vitae vault SITE ACTION: the identity map in the hands of whoever holds its key. Look-ups and exports leave a row in the audit chain before
 * anything is printed. */
#include <stdio.h>
#include <string.h>

#include "base/csv.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/progress.h"
#include "cli/cli_commands.h"
#include "cli/cli_identity.h"
#include "cli/cli_site.h"
#include "deid/deid.h"
#include "govern/site.h"
#include "serve/serve.h"

enum { NAME = 129 }; /* bytes of a source's name */

static const struct cli_option options[] = {
    {"pseudonym", CLI_INTEGER, "N:1..", "lookup: who is this subject?"},
    {"source", CLI_TEXT, "NAME", "lookup: with --person, which subject is this person?"},
    {"person", CLI_TEXT, "KEY", "lookup: the source's own key"},
    {"to", CLI_TEXT, "FILE", "export: the encrypted list for an honest broker (source, key, pseudonym, shift)"},
    {"passphrase-file", CLI_TEXT, "FILE",
     "opens a vault that is protected by a passphrase; otherwise the passphrase of the exported list, for export and read"},
    {"new-passphrase-file", CLI_TEXT, "FILE",
     "rotate: protect by this passphrase from now on (default: a new key file); export: the list's own"},
    {0}};

int cli_vault(const struct cli *c, const struct site *s, struct vault **out, struct error *e) {
  char dir[4096], *phrase = NULL;
  struct arena a;
  TRY(site_path(s, dir, "vault", NULL));
  arena_init(&a, 1 << 20, ARENA_WIPE);
  int rc = vault_uses_passphrase(dir) ? cli_passphrase(c, &a, &phrase, e) : OK;
  if (rc == OK) rc = vault_open(dir, phrase, out, e);
  arena_free(&a);
  TRY(rc);
  rc = cli_identity(s, *out, e);
  if (rc < 0) vault_close(*out);
  return rc;
}

static int phrase_of(const char *path, struct arena *a, char **out, struct error *e) {
  struct str text;
  TRY(file_read(a, path, 4096, &text, e));
  text = str_cut(&text, '\n');
  if (text.n < 8) return error_set(e, E_INPUT, "the passphrase must have at least 8 bytes");
  *out = arena_strndup(a, text.p, text.n);
  return *out ? OK : error_set(e, E_NOMEM, "out of memory");
}

/* What was asked for, as a hash that says nothing without the vault; and a pseudonym's, which anybody who has the number can compare. */
static int note(const struct site *s, const struct vault *v, const char *what, const char *asked, int64_t pseudonym, int status,
                struct error *e) {
  uint8_t digest[32];
  char question[65] = "", answer[65] = "", number[32];
  struct buf b = {0};
  if (asked) {
    buf_puts(&b, "audit ");
    buf_puts(&b, asked);
    TRY(buf_check(&b, e));
    TRY(vault_secret(v, 0, buf_cstr(&b), digest, e));
    hash_hex(digest, 32, question);
    mem_wipe(b.p, b.n);
    buf_release(&b);
  }
  if (pseudonym) {
    int n = snprintf(number, sizeof number, "%lld", (long long)pseudonym);
    sha256_of(number, (size_t)n, digest);
    hash_hex(digest, 32, answer);
  }
  return audit_note(s->path, what, question, answer, status, e);
}

/* ---- lookup ---- */

struct lookup {
  int64_t pseudonym;
  struct table *table;
  struct json_out *json;
  int n;
};

static int list_key(void *ctx, const struct vault_person_key *k, struct error *e) {
  struct lookup *l = ctx;
  char source[160], key[1100], shift[24];
  if (k->pseudonym != l->pseudonym) return OK;
  snprintf(source, sizeof source, "%.*s", STR_ARG(k->source));
  snprintf(key, sizeof key, "%.*s", STR_ARG(k->key));
  snprintf(shift, sizeof shift, "%+d days", k->shift_days);
  table_row(l->table, source, key, k->shift_days ? shift : "none drawn");
  json_out_object(l->json);
  json_kv_str(l->json, "source", k->source);
  json_kv_str(l->json, "person", k->key);
  json_kv_i64(l->json, "shift_days", k->shift_days);
  json_out_end(l->json);
  l->n++;
  (void)e;
  return OK;
}

static int lookup(struct cli *c, const struct site *s, struct vault *v, struct error *e) {
  const char *source = cli_text(c, "source", NULL), *person = cli_text(c, "person", NULL);
  int64_t n = cli_integer(c, "pseudonym", 0);
  bool by_key = source && person, by_number = n > 0;
  char asked[1400], number[32];
  if (by_key == by_number || (!source) != (!person))
    return error_set(e, E_USAGE, "lookup wants --pseudonym N, or --source NAME --person KEY");
  snprintf(asked, sizeof asked, "%s %s %lld", source ? source : "", person ? person : "", (long long)n);
  struct table t;
  struct buf b = {0};
  struct json_out o;
  struct lookup l = {n, &t, &o, 0};
  table_init(&t, 3, "source", "person", "dates moved by");
  json_out_init(&o, &b, false);
  json_out_object(&o);
  int rc = by_key ? vault_find(v, source, str_c(person), &l.pseudonym, e) : OK;
  if (rc == OK) {
    snprintf(number, sizeof number, "%lld", (long long)l.pseudonym);
    json_kv_c(&o, "subject", number);
    json_out_key(&o, "keys");
    json_out_array(&o);
    rc = vault_persons_each(v, list_key, &l, e);
    json_out_end(&o);
    json_out_end(&o);
  }
  if (rc == OK && l.n == 0) rc = error_set(e, E_NOTFOUND, "the vault knows no such pseudonym");
  struct error audit = {0};
  if (note(s, v, "vault lookup", asked, rc == OK ? l.pseudonym : 0, rc == OK ? 200 : 404, &audit) < 0) rc = audit.code, *e = audit;
  if (rc == OK && c->json) {
    rc = cli_print_json(&b, e);
  } else if (rc == OK) {
    printf("Subject %s\n", number);
    table_print(&t, stdout);
  }
  mem_wipe(asked, sizeof asked);
  table_release(&t);
  if (b.p) mem_wipe(b.p, b.cap);
  buf_release(&b);
  return rc;
}

/* ---- export ---- */

static void csv_cell(struct buf *b, struct str s) {
  buf_putc(b, '"');
  for (size_t i = 0; i < s.n; i++) {
    if (s.p[i] == '"') buf_putc(b, '"');
    buf_putc(b, s.p[i]);
  }
  buf_putc(b, '"');
}

static int export_row(void *ctx, const struct vault_person_key *k, struct error *e) {
  struct buf *b = ctx;
  csv_cell(b, k->source);
  buf_putc(b, ',');
  csv_cell(b, k->key);
  buf_printf(b, ",%lld,%d\n", (long long)k->pseudonym, k->shift_days);
  return buf_check(b, e);
}

static int export_list(struct cli *c, const struct site *s, struct vault *v, struct error *e) {
  const char *to = cli_text(c, "to", NULL), *own = cli_text(c, "new-passphrase-file", NULL);
  char dir[4096], *phrase;
  struct arena a;
  struct buf b = {0};
  TRY(site_path(s, dir, "vault", NULL));
  if (!own && !vault_uses_passphrase(dir)) own = cli_text(c, "passphrase-file", NULL);
  if (!to || !own) return error_set(e, E_USAGE, "export wants --to FILE and the list's own passphrase (--new-passphrase-file FILE)");
  if (file_exists(to)) return error_set(e, E_USAGE, "%s is there already", to);
  arena_init(&a, 1 << 20, ARENA_WIPE);
  if (!buf_reserve(&b, 1 << 16)) b.failed = true;
  buf_puts(&b, "source,person,pseudonym,shift_days\n");
  int rc = phrase_of(own, &a, &phrase, e);
  if (rc == OK) rc = vault_persons_each(v, export_row, &b, e);
  if (rc == OK) rc = note(s, v, "vault export", NULL, 0, 200, e);
  if (rc == OK) rc = vault_seal_file(to, phrase, (struct str){b.p, b.n}, e);
  if (b.p) mem_wipe(b.p, b.cap);
  buf_release(&b);
  arena_free(&a);
  if (rc == OK && !c->json) printf("Wrote %s, encrypted. Read it with: vitae vault %s read --passphrase-file FILE\n", to, to);
  if (rc == OK && c->json) printf("{\"wrote\":true}\n");
  return rc;
}

static int read_list(struct cli *c, struct error *e) {
  const char *own = cli_text(c, "passphrase-file", NULL);
  struct arena a;
  struct str text = STR_NONE;
  char *phrase;
  if (!own) return error_set(e, E_USAGE, "read wants --passphrase-file FILE");
  arena_init(&a, 0, ARENA_WIPE);
  int rc = phrase_of(own, &a, &phrase, e);
  if (rc == OK) rc = vault_unseal_file(c->arg[0], phrase, &a, &text, e);
  if (rc == OK && fwrite(text.p, 1, text.n, stdout) != text.n) rc = error_set(e, E_IO, "cannot write to standard output");
  arena_free(&a);
  return rc;
}

/* ---- link ---- */

static int link_rows(struct vault *v, struct csv *t, uint64_t counts[3], struct error *e) {
  struct csv_row row;
  static const char *const names[] = {"source", "person", "source2", "person2"};
  int at[4], rc;
  TRY(csv_row(t, &row, e));
  for (int i = 0; i < 4; i++)
    if ((at[i] = csv_column(&row, names[i])) < 0)
      return error_set(e, E_INPUT, "the table wants the columns source, person, source2, person2");
    else if (csv_column_twice(&row, names[i]))
      return error_set(e, E_INPUT, "the table has its column %s twice", names[i]);
  size_t columns = row.n;
  while ((rc = csv_row(t, &row, e)) == OK) {
    if (row.n != columns && row.n == 1 && str_trim(row.field[0]).n == 0) continue;
    struct str cell[4];
    char source[2][NAME];
    if (row.n != columns) return error_set(e, E_INPUT, "wrong number of columns");
    for (int i = 0; i < 4; i++) cell[i] = str_trim(row.field[at[i]]);
    for (int i = 0; i < 2; i++) {
      if (cell[2 * i].n == 0 || cell[2 * i].n >= NAME || cell[2 * i + 1].n == 0) return error_set(e, E_INPUT, "an empty or overlong cell");
      snprintf(source[i], NAME, "%.*s", STR_ARG(cell[2 * i]));
    }
    struct error why = {0};
    rc = vault_link(v, source[0], cell[1], source[1], cell[3], &why);
    counts[rc == OK ? 0 : rc == E_MISMATCH ? 1 : 2]++;
    if (rc < 0 && rc != E_MISMATCH && rc != E_DENIED) return *e = why, rc;
  }
  return rc == E_END ? OK : rc;
}

static int link_table(struct cli *c, struct vault *v, struct error *e) {
  struct csv t;
  uint64_t counts[3] = {0};
  if (c->args < 3) return error_set(e, E_USAGE, "link wants a table: vitae vault SITE link TABLE.csv");
  TRY(csv_open(&t, c->arg[2], ',', e));
  int rc = link_rows(v, &t, counts, e);
  if (rc < 0) error_where(e, c->arg[2], (int64_t)t.row, NULL);
  csv_close(&t);
  if (rc == E_END) rc = error_set(e, E_INPUT, "the table is empty");
  TRY(rc);
  TRY(vault_commit(v, e));
  if (c->json)
    printf("{\"linked\":%llu,\"conflicts\":%llu,\"forgotten\":%llu}\n", (unsigned long long)counts[0], (unsigned long long)counts[1],
           (unsigned long long)counts[2]);
  else
    printf(
        "%llu rows say that two keys are one person; %llu rows left as they were, since both persons have events already; %llu name a "
        "forgotten person\n",
        (unsigned long long)counts[0], (unsigned long long)counts[1], (unsigned long long)counts[2]);
  return OK;
}

/* ---- rotate, stats ---- */

static int rotate(struct cli *c, const struct site *s, struct vault *v, struct error *e) {
  const char *own = cli_text(c, "new-passphrase-file", NULL);
  char *phrase = NULL;
  struct arena a;
  arena_init(&a, 1 << 20, ARENA_WIPE);
  int rc = own ? phrase_of(own, &a, &phrase, e) : OK;
  if (rc == OK) rc = note(s, v, "vault rotate", NULL, 0, 200, e);
  if (rc == OK) rc = vault_rotate(v, phrase, e);
  arena_free(&a);
  TRY(rc);
  if (c->json)
    printf("{\"rotated\":true,\"passphrase\":%s}\n", own ? "true" : "false");
  else
    printf("The vault opens with %s from now on. Copies of the old map still open with the old key.\n",
           own ? "the new passphrase" : "a new key file");
  return OK;
}

static int stats(struct cli *c, struct vault *v, struct error *e) {
  struct vault_counts n;
  vault_stats(v, &n);
  const struct {
    const char *name;
    uint64_t n;
  } rows[] = {{"persons", n.persons},
              {"keys", n.keys},
              {"persons_of_several_keys", n.linked},
              {"identifiers", n.identifiers},
              {"with_events", n.with_events},
              {"with_birth", n.with_birth},
              {"sources", n.sources},
              {"forgotten_keys", n.forgotten_keys},
              {"bytes_of_memory", n.memory}};
  struct table t;
  struct buf b = {0};
  struct json_out o;
  char number[32];
  table_init(&t, 2, "what", "count");
  json_out_init(&o, &b, false);
  json_out_object(&o);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    human_thousands((int64_t)rows[i].n, number);
    table_row(&t, rows[i].name, number);
    json_kv_i64(&o, rows[i].name, (int64_t)rows[i].n);
  }
  json_out_end(&o);
  int rc = OK;
  if (c->json)
    rc = cli_print_json(&b, e);
  else
    table_print(&t, stdout);
  table_release(&t);
  buf_release(&b);
  return rc;
}

static int run(struct cli *c, struct error *e) {
  static const char *const actions[] = {"lookup", "stats", "link", "export", "rotate"};
  const char *action = c->arg[1];
  struct site s;
  struct vault *v;
  int a = 0;
  if (strcmp(action, "read") == 0) return read_list(c, e);
  while (a < 5 && strcmp(action, actions[a]) != 0) a++;
  if (a == 5) return error_set(e, E_USAGE, "the actions are lookup, stats, link, export, read and rotate");
  TRY(site_open(c->arg[0], &s, e));
  TRY(cli_vault(c, &s, &v, e));
  int rc = a == 0   ? lookup(c, &s, v, e)
           : a == 1 ? stats(c, v, e)
           : a == 2 ? link_table(c, v, e)
           : a == 3 ? export_list(c, &s, v, e)
                    : rotate(c, &s, v, e);
  vault_close(v);
  return rc;
}

const struct command command_vault = {"vault", "SITE ACTION [TABLE]", "look up, link, export or re-key the identity map", options, 2, 3,
                                      run};
