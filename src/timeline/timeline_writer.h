/* Private to src/timeline: the writer between timeline_writer.c (taking events in), timeline_merge.c (sorting and merging
 * with the earlier generation) and timeline_commit.c (manifest and publication).
 *
 * While it works everything lies in DIR/.writing; the next writer removes what a killed one left there. How the memory limit
 * is divided: 1/8 partition buffers, 1/8 code names, 1/8 displays, 1/4 the partition being sorted, 1/4 the life being sorted,
 * 1/32 columns, the rest slack. A partition that does not fit is divided by the next 4 bits of the subject's hash. */
#ifndef TIMELINE_TIMELINE_WRITER_H
#define TIMELINE_TIMELINE_WRITER_H
#include "timeline/timeline_store.h"

struct spilled { /* one event on its way to a partition; process-private, never outlives the run */
  int64_t subject, time;
  uint64_t text_at;                                /* in the text spill */
  uint32_t code, file, row, text_n : 31, blob : 1; /* blob: the digest lies behind the text */
  float value;
  uint32_t unit : 30, back : 1,
      earlier : 1; /* unit: 0 = none, else interned id + 1; back: it takes back what came before it, or (earlier) before this run */
};
struct partition {
  struct spilled *buffer;
  uint32_t fill;
  uint64_t written; /* events in its file */
};
struct source {
  char name_sha256[65], sha256[65];
  bool pieces; /* sha256 is that of the list of pieces */
};
struct timeline_writer {
  char dir[3900], work[3950];
  int lock, broken; /* broken: code of the first I/O failure; nothing can be finished after it */
  struct timeline_options options;
  char policy_name[64], policy_hash[130], policy_settings[130];
  struct timeline *previous; /* NULL for the first generation */
  struct manifest manifest;  /* of the previous generation */
  struct arena arena;        /* holds it */
  struct intern codes, units;
  struct str *display; /* by code id; smallest seen, so that the order of arrival does not matter */
  uint32_t display_cap;
  struct arena displays;
  struct spilled *memory;
  uint32_t each; /* events a partition buffer holds */
  struct partition partition[PARTITIONS];
  uint64_t events;
  int text_fd;
  uint8_t *text;
  size_t text_fill;
  uint64_t text_written; /* in the file; the next text's place is text_written + text_fill */
  struct source *source;
  uint32_t sources, source_cap; /* sources: highest index seen + 1 */
  const int64_t *exclude;       /* sorted: subjects of the previous generation that do not go over (timeline_forget.c) */
  uint32_t exclude_n;
  const struct timeline_suppression *release; /* `previous` is the base store then (timeline_release.c), */
  char release_from[3900];                    /* and this its directory */
};

/* What merging hands to the commit. */
struct merged {
  uint32_t codes, units;             /* units counts unit 0 */
  uint32_t *code_new, *code_old;     /* id of the run / of the previous generation -> rank */
  uint32_t *unit_new, *unit_old;     /* the same with unit 0 kept */
  uint32_t *file_new;                /* index of the run -> number in the store */
  struct str *name, *display, *unit; /* by rank */
  uint64_t *count;                   /* events by code */
  struct source *added;              /* sources this run adds */
  uint32_t sources_added;
  uint64_t subjects, events, texts, blobs, splits[SPLITS];
  uint32_t shards, files;
  struct manifest_file file[SHARDS_MAX + 1];
  struct arena arena;
};
/* Room for the dictionary of a generation that holds a part of `d`'s codes and units, and `names` names at most; nothing is added to sources. */
int merged_reserve(struct merged *m, const struct dictionary *d, uint32_t names, struct error *e) MUST_CHECK;
void merged_units(struct merged *m, const struct dictionary *d, const bool *kept);
int merge_dictionaries(struct timeline_writer *w, struct merged *m, struct error *e) MUST_CHECK;
/* In place of merge_dictionaries when subjects are left out: codes, units and sources that only they had go too. */
int forget_dictionaries(struct timeline_writer *w, struct merged *m, struct error *e) MUST_CHECK;
/* In place of merge_dictionaries when a base store is released. */
int release_dictionaries(struct timeline_writer *w, struct merged *m, struct error *e) MUST_CHECK;
bool release_keeps(const struct timeline_suppression *s, uint32_t subject, uint32_t code);
int release_blob(const struct timeline_writer *w, const uint8_t *digest, struct error *e) MUST_CHECK;
int writer_keep_policy(struct timeline_writer *w, struct error *e) MUST_CHECK; /* the store keeps the policy under which its events came */
bool writer_excludes(const struct timeline_writer *w, int64_t subject);
int merge_events(struct timeline_writer *w, struct merged *m, const char *generation_dir, void (*progress)(void *, uint64_t, uint64_t),
                 void *ctx, struct error *e) MUST_CHECK;
int commit_generation(struct timeline_writer *w, struct merged *m, const char *generation_dir, struct str extra,
                      struct error *e) MUST_CHECK;
int writer_flush_text(struct timeline_writer *w, struct error *e) MUST_CHECK;
int writer_write(int fd, const void *p, size_t n); /* all of it; 0 or -errno */
int writer_io_failed(struct timeline_writer *w, struct error *e, int code);
void partition_path(const struct timeline_writer *w, const char *name, char out[4096]);
/* Removes what killed writers left: .writing, temporary pointers, generations that CURRENT never reached. */
int writer_clean(const char *dir, uint64_t current, struct error *e) MUST_CHECK;
void writer_prune(const char *dir, uint64_t current); /* keeps the current generation and the one before */
#endif
