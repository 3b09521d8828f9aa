/* Text burned into pixels: found by device rules and by reading the image, then blanked. Every other pixel keeps its bytes.
 *
 *     struct dicom_eye *eye;  TRY(dicom_eye_open(&eye, e));            // a helper process: decoders and OCR, made ready once
 *     bool cleaned;
 *     TRY(dicom_pixels_clean(profile, &file, eye, &counts, &cleaned, e));   // before dicom_clean takes the device's names away
 *     dicom_eye_close(eye);
 *
 * Foreign bytes are decoded in a process of their own for each file: forked from the helper, with limits on memory and time and a system
 * call filter (no files, no network, no processes). It gets the attributes of the image and the pixel data, nothing else of the file. Its
 * crash or hang is E_INPUT for that one file. Compressed images stay as they are when nothing had to be blanked; otherwise they are written
 * as explicit VR little endian. An image that cannot be decoded is refused (E_INPUT): nobody could say what is written in it.
 * Read: 8, 16 and 32 bits, signed and unsigned, MONOCHROME1/2, RGB, YBR, PALETTE COLOR, frames (first, last and six between; what is found in
 * one is blanked in all), 1 bit (segmentations; unpacked to be looked at). Not read: floating point maps. Methods: connected components and Tesseract (Smith 2007).
 */
#ifndef DEID_DICOM_PIXELS_H
#define DEID_DICOM_PIXELS_H
#include "deid/dicom_clean.h"

enum { DICOM_BOXES = 256 };
struct dicom_image { /* shape (frames, rows, columns, samples) or planes where planar */
  uint32_t rows, columns, frames, samples, allocated, stored, high;
  bool is_signed, planar, big, mono1, ybr;
  uint8_t bits;         /* 1, or 2 = in big-endian words: one bit a pixel in the file; all else here is of its unpacked form */
  bool half;            /* YBR_FULL_422 written plain: two pixels in four bytes */
  bool swapped;         /* bytes in big-endian words */
  double center, width; /* window; width 0 = none */
};
/* False: no image that can hold text (no pixels, floating point). E_INPUT: attributes that contradict the data. */
int dicom_image_of(const struct dicom_file *f, struct dicom_image *image, bool *readable, struct error *e) MUST_CHECK;
size_t dicom_image_bytes(const struct dicom_image *image); /* of all frames */
size_t dicom_image_frame(const struct dicom_image *image);
size_t dicom_bits_bytes(const struct dicom_image *image); /* in the file: frames follow one another without a gap (PS3.5 8.1.1) */
void dicom_bits_unpack(const struct dicom_image *image, const uint8_t *bits, uint8_t *pixels); /* a byte a pixel, 0 or 1 */
void dicom_bits_pack(const struct dicom_image *image, const uint8_t *pixels, uint8_t *bits);   /* bits behind the last pixel stay */
/* One frame as grey, 0 = black: text is bright (or dark) against it. out has rows * columns bytes. */
/* A pixel's stored value; of colours the brightest sample (for dark text the darkest). */
int64_t dicom_image_value(const struct dicom_image *image, const uint8_t *frame, size_t i, bool dark);
void dicom_image_grey(const struct dicom_image *image, const uint8_t *frame, bool window, bool dark, uint8_t *out);
void dicom_image_blank(const struct dicom_image *image, uint8_t *pixels, const struct dicom_box *box, uint32_t n);
uint32_t dicom_device_boxes(const struct dicom_profile *p, const struct dicom_file *f, struct dicom_box *out, uint32_t room);
/* The header makes text likely (secondary capture, ultrasound, BurnedInAnnotation): the whole image is read, not only what looks like lines. */
/* A volume of a head, by what the header says: whoever has it can rebuild the face and compare it with photographs. */
bool dicom_face_likely(const struct dicom_profile *p, const struct dicom_file *f);
bool dicom_text_likely(const struct dicom_file *f);

struct dicom_eye;
int dicom_eye_open(struct dicom_eye **out, struct error *e) MUST_CHECK;
void dicom_eye_close(struct dicom_eye *eye);
struct dicom_look {         /* what the eye is asked, and what it says */
  struct dicom_image image; /* in: of uncompressed pixels; out: of `pixels` */
  const uint8_t *input;     /* raw frames, or a DICOM file of the image's attributes and fragments */
  size_t input_n;
  bool encapsulated, whole, read; /* whole: see dicom_text_likely; read: look for text */
  const uint8_t *pixels;          /* out: decoded frames, valid until the next look; NULL if the input was raw */
  size_t pixels_n;
  char photometric[20]; /* out: of `pixels` */
  struct dicom_box box[DICOM_BOXES];
  uint32_t box_n;
};
int dicom_eye_look(struct dicom_eye *eye, struct dicom_look *look, struct error *e) MUST_CHECK;

int dicom_pixels_clean(const struct dicom_profile *p, struct dicom_file *f, struct dicom_eye *eye, struct dicom_counts *counts,
                       bool *cleaned, struct error *e) MUST_CHECK;

/* In the helper process only (dicom_ocr.c, dicom_decode.cc). */
struct dicom_reader;
struct dicom_reader *dicom_reader_new(void); /* NULL: no OCR on this machine */
uint32_t dicom_reader_boxes(struct dicom_reader *r, const struct dicom_image *image, const uint8_t *pixels, bool whole,
                            struct dicom_box *out, uint32_t room);
#endif
