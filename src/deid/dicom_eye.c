/* The helper process. It makes decoders and OCR ready once; each image is then looked at by a child of its own, which is forked from it,
 * gives up the rights to everything but memory, and leaves its answer in shared memory. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/confine.h"
#include "deid/dicom_decode.h"
#include "deid/dicom_pixels.h"

#define INPUT_ROOM ((size_t)1 << 30)
#define OUTPUT_ROOM ((size_t)2 << 30)
enum { SECONDS = 120, READY = 'R', NO_READER = 'N', NO_MEANS = 'C', LOOKED = 1, HOSTILE = 2, GOOD = 1 };

struct desk { /* shared: the question, the answer, and room for both images */
  struct dicom_look look;
  struct dicom_decoded decoded;
  uint32_t state;
  _Alignas(4096) uint8_t input[INPUT_ROOM];
  uint8_t output[OUTPUT_ROOM];
};
struct dicom_eye {
  struct desk *desk;
  int memory, wire;
  pid_t helper;
};

/* ---- the child of one image ---- */

/* What the decoder says must agree with what the header said: shapes are the parent's. */
static bool decoded_fits(struct desk *d) {
  struct dicom_image *m = &d->look.image;
  const struct dicom_decoded *k = &d->decoded;
  m->samples = k->samples;
  m->allocated = k->allocated;
  m->stored = k->stored;
  m->high = k->high;
  m->is_signed = k->is_signed;
  m->planar = k->planar && k->samples > 1;
  m->big = m->half = m->swapped = false;
  m->ybr = k->samples == 3 && strncmp(k->photometric, "YBR", 3) == 0;
  bool sound = (m->samples == 1 || m->samples == 3 || m->samples == 4) && (m->allocated == 8 || m->allocated == 16 || m->allocated == 32) &&
               m->stored >= 1 && m->stored <= m->allocated && m->high < m->allocated && m->high + 1 >= m->stored;
  return sound && k->n >= dicom_image_bytes(m);
}

static void look_at(struct desk *d, struct dicom_reader *reader) {
  struct dicom_look *l = &d->look;
  const uint8_t *pixels = d->input;
  if (l->encapsulated) {
    if (!dicom_decode(d->input, l->input_n, d->output, OUTPUT_ROOM, &d->decoded) || !decoded_fits(d)) return;
    pixels = d->output;
  }
  if (l->read) l->box_n = dicom_reader_boxes(reader, &l->image, pixels, l->whole, l->box, DICOM_BOXES);
  d->state = GOOD;
}

/* ---- the helper ---- */

static void helper_serve(struct desk *desk, int wire) {
  dicom_decode_init();
  struct dicom_reader *reader = dicom_reader_new();
  char word = !reader ? NO_READER : confine_possible() ? READY : NO_MEANS;
  if (send(wire, &word, 1, MSG_NOSIGNAL) != 1 || word != READY) return;
  while (recv(wire, &word, 1, 0) == 1) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
      struct confinement c = {.read_fd = -1, .write_fd = -1, .seconds = SECONDS, .memory = (size_t)8 << 30};
      close(wire);
      alarm(SECONDS);
      if (confine(&c, NULL) == OK) look_at(desk, reader);
      _exit(desk->state == GOOD ? 0 : 1);
    }
    if (child > 0)
      while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    bool ended = child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    word = ended ? LOOKED : child > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS ? HOSTILE : 0;
    if (send(wire, &word, 1, MSG_NOSIGNAL) != 1) return;
  }
}

static void helper_main(struct dicom_eye *eye, int wire) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (int s = 1; s < 32; s++)
    if (s != SIGKILL && s != SIGSTOP)
      signal(s,
             s == SIGINT || s == SIGXFSZ ? SIG_IGN : SIG_DFL); /* the parent decides when to stop; a library's grumbling is not a crime */
  /* no file of the parent's stays open here: vault, store, sockets */
  int keep = dup2(wire, 3) < 0 ? wire : 3;
  if (keep == 3) close_range(4, ~0u, 0);
  helper_serve(eye->desk, keep);
  _exit(0);
}

static int start(struct dicom_eye *eye, struct error *e) {
  int wire[2];
  char word = 0;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, wire) < 0)
    return error_set(e, E_IO, "no socket for the image reader: %s", strerror(errno));
  fflush(NULL);
  eye->helper = fork();
  if (eye->helper == 0) helper_main(eye, wire[1]);
  close(wire[1]);
  eye->wire = wire[0];
  if (eye->helper < 0) return error_set(e, E_IO, "no process for the image reader: %s", strerror(errno));
  if (recv(eye->wire, &word, 1, 0) == 1 && word == READY) return OK;
  if (word == NO_MEANS)
    return error_set(e, E_UNAVAILABLE, "images are decoded by a confined process only, and this kernel confines none (seccomp)");
  return error_set(e, E_UNAVAILABLE, "text in images cannot be read here: Tesseract has no English data");
}

static void stop(struct dicom_eye *eye) {
  if (eye->wire >= 0) close(eye->wire);
  if (eye->helper > 0)
    while (waitpid(eye->helper, NULL, 0) < 0 && errno == EINTR) {}
  eye->wire = -1;
  eye->helper = 0;
}

int dicom_eye_open(struct dicom_eye **out, struct error *e) {
  *out = NULL;
  struct dicom_eye *eye = mem_alloc(sizeof *eye);
  if (!eye) return error_set(e, E_NOMEM, "no memory for the image reader");
  *eye = (struct dicom_eye){.memory = memfd_create("images", MFD_CLOEXEC), .wire = -1};
  int rc = OK;
  if (eye->memory < 0 || ftruncate(eye->memory, (off_t)sizeof(struct desk)) < 0)
    TRY_OUT(error_set(e, E_IO, "no shared memory for the image reader: %s", strerror(errno)));
  void *p = mmap(NULL, sizeof(struct desk), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, eye->memory, 0);
  if (p == MAP_FAILED) TRY_OUT(error_set(e, E_IO, "no shared memory for the image reader: %s", strerror(errno)));
  eye->desk = p;
  rc = start(eye, e);
out:
  if (rc == OK) return *out = eye, OK;
  dicom_eye_close(eye);
  return rc;
}

void dicom_eye_close(struct dicom_eye *eye) {
  if (!eye) return;
  stop(eye);
  if (eye->desk) munmap(eye->desk, sizeof(struct desk));
  if (eye->memory >= 0) close(eye->memory);
  mem_free(eye);
}

/* The pages of the last image are given back: they held a patient's picture, and would be counted for ever. */
static void clear(struct dicom_eye *eye) {
  fallocate(eye->memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)sizeof(struct desk));
}

static int answer(struct dicom_eye *eye, struct dicom_look *look, struct error *e) {
  struct desk *d = eye->desk;
  if (d->state != GOOD || d->look.box_n > DICOM_BOXES) return error_set(e, E_INPUT, "the image cannot be decoded");
  look->box_n = d->look.box_n;
  memcpy(look->box, d->look.box, sizeof look->box);
  if (!look->encapsulated) return OK;
  struct dicom_image given = look->image;
  if (!decoded_fits(d) || d->decoded.n > OUTPUT_ROOM) return error_set(e, E_INPUT, "the decoded image is not what its header says");
  look->image = d->look.image;
  look->image.rows = given.rows;
  look->image.columns = given.columns;
  look->image.frames = given.frames;
  look->pixels_n = dicom_image_bytes(&look->image);
  if (look->pixels_n > d->decoded.n) return error_set(e, E_INPUT, "the decoded image is not what its header says");
  look->pixels = d->output;
  memcpy(look->photometric, d->decoded.photometric, sizeof look->photometric);
  look->photometric[sizeof look->photometric - 1] = 0;
  return OK;
}

int dicom_eye_look(struct dicom_eye *eye, struct dicom_look *look, struct error *e) {
  char word = 1;
  if (look->input_n > INPUT_ROOM) return error_set(e, E_LIMIT, "an image too large to be looked at");
  if (eye->wire < 0) TRY(start(eye, e));
  clear(eye);
  eye->desk->look = *look;
  eye->desk->look.input = eye->desk->look.pixels = NULL;
  memcpy(eye->desk->input, look->input, look->input_n);
  if (send(eye->wire, &word, 1, MSG_NOSIGNAL) != 1 || recv(eye->wire, &word, 1, 0) != 1) {
    stop(eye);
    return error_set(e, E_IO, "the image reader ended; it will be started again for the next file");
  }
  if (word == HOSTILE) return error_set(e, E_INPUT, "the image's decoder wanted what no decoder may: is the file hostile?");
  if (word != LOOKED) return error_set(e, E_INPUT, "the image cannot be decoded");
  return answer(eye, look, e);
}
