// DCMTK for JPEG, JPEG-LS, RLE; OpenJPEG for JPEG 2000.
#include "deid/dicom_decode.h"

#include <openjpeg.h>

#include <cstring>
#include <vector>

#include <dcmtk/config/osconfig.h>
#include <dcmtk/dcmdata/dcistrmb.h>
#include <dcmtk/dcmdata/dcpixel.h>
#include <dcmtk/dcmdata/dcpixseq.h>
#include <dcmtk/dcmdata/dcpxitem.h>
#include <dcmtk/dcmdata/dcrledrg.h>
#include <dcmtk/dcmdata/dctk.h>
#include <dcmtk/dcmjpeg/djdecode.h>
#include <dcmtk/dcmjpls/djdecode.h>
#include <dcmtk/oflog/oflog.h>

void dicom_decode_init(void) {
  OFLog::configure(OFLogger::OFF_LOG_LEVEL);
  DJDecoderRegistration::registerCodecs();
  DJLSDecoderRegistration::registerCodecs();
  DcmRLEDecoderRegistration::registerCodecs();
  dcmDataDict.rdlock();
  dcmDataDict.rdunlock();
}

namespace {

struct source {
  const uint8_t *p;
  size_t n, at;
};
OPJ_SIZE_T source_read(void *to, OPJ_SIZE_T want, void *user) {
  auto *s = static_cast<source *>(user);
  if (s->at >= s->n) return static_cast<OPJ_SIZE_T>(-1);
  size_t n = s->n - s->at < want ? s->n - s->at : want;
  memcpy(to, s->p + s->at, n);
  s->at += n;
  return n;
}
OPJ_OFF_T source_skip(OPJ_OFF_T n, void *user) {
  auto *s = static_cast<source *>(user);
  if (n < 0 || static_cast<size_t>(n) > s->n - s->at) return -1;
  s->at += static_cast<size_t>(n);
  return n;
}
OPJ_BOOL source_seek(OPJ_OFF_T to, void *user) {
  auto *s = static_cast<source *>(user);
  if (to < 0 || static_cast<size_t>(to) > s->n) return OPJ_FALSE;
  s->at = static_cast<size_t>(to);
  return OPJ_TRUE;
}

struct shape {
  Uint16 rows = 0, columns = 0, samples = 1, allocated = 0, is_signed = 0;
  size_t frame() const { return static_cast<size_t>(rows) * columns * samples * (allocated / 8); }
};

// Components of an image, interleaved.
bool components_put(const opj_image_t *image, const shape &s, uint8_t *out) {
  if (image->numcomps != s.samples) return false;
  for (unsigned c = 0; c < s.samples; c++) {
    const opj_image_comp_t &k = image->comps[c];
    if (k.w != s.columns || k.h != s.rows || !k.data) return false;
    for (size_t i = 0; i < static_cast<size_t>(s.rows) * s.columns; i++) {
      int32_t v = k.data[i];
      uint8_t *at = out + (i * s.samples + c) * (s.allocated / 8);
      at[0] = static_cast<uint8_t>(v);
      if (s.allocated == 16) at[1] = static_cast<uint8_t>(v >> 8);
    }
  }
  return true;
}

bool j2k_frame(const uint8_t *p, size_t n, const shape &s, uint8_t *out) {
  if (n < 12) return false;
  source from = {p, n, 0};
  bool boxed = memcmp(p + 4, "jP  ", 4) == 0;
  opj_codec_t *codec = opj_create_decompress(boxed ? OPJ_CODEC_JP2 : OPJ_CODEC_J2K);
  opj_stream_t *stream = opj_stream_default_create(OPJ_TRUE);
  opj_image_t *image = nullptr;
  opj_dparameters_t parameters;
  opj_set_default_decoder_parameters(&parameters);
  opj_stream_set_user_data(stream, &from, nullptr);
  opj_stream_set_user_data_length(stream, n);
  opj_stream_set_read_function(stream, source_read);
  opj_stream_set_skip_function(stream, source_skip);
  opj_stream_set_seek_function(stream, source_seek);
  bool good = opj_setup_decoder(codec, &parameters) && opj_decoder_set_strict_mode(codec, OPJ_TRUE) &&
              opj_read_header(stream, codec, &image) && image->x1 - image->x0 == s.columns && image->y1 - image->y0 == s.rows &&
              opj_decode(codec, stream, image) && components_put(image, s, out);
  if (image) opj_image_destroy(image);
  opj_stream_destroy(stream);
  opj_destroy_codec(codec);
  return good;
}

// Where each frame's fragments begin: by the offset table, else one fragment a frame, else a codestream's first bytes.
bool frames_of(DcmPixelSequence *sequence, unsigned long frames, std::vector<std::vector<uint8_t>> &out) {
  DcmPixelItem *item = nullptr;
  Uint8 *bytes = nullptr;
  unsigned long n = sequence->card();
  std::vector<uint32_t> starts;
  if (n < 2) return false;
  if (sequence->getItem(item, 0).bad()) return false;
  if (item->getLength() >= 4 * frames && item->getUint8Array(bytes).good() && bytes)
    for (unsigned long i = 0; i < frames; i++) {
      uint32_t v;
      memcpy(&v, bytes + 4 * i, 4);
      starts.push_back(v);
    }
  size_t offset = 0;
  for (unsigned long i = 1; i < n; i++) {
    if (sequence->getItem(item, i).bad()) return false;
    size_t length = item->getLength();
    bytes = nullptr;
    if (length && (item->getUint8Array(bytes).bad() || !bytes)) return false;
    bool begins = out.empty();
    if (!starts.empty())
      begins = out.size() < starts.size() && offset == starts[out.size()];
    else if (n - 1 == frames)
      begins = true;
    else if (frames > 1 && length > 4)
      begins = begins || (bytes[0] == 0xFF && bytes[1] == 0x4F && bytes[2] == 0xFF && bytes[3] == 0x51);
    if (begins) out.emplace_back();
    if (out.empty()) return false;
    out.back().insert(out.back().end(), bytes, bytes + length);
    offset += length + 8;
  }
  return out.size() == frames;
}

bool j2k(DcmDataset *data, E_TransferSyntax syntax, const shape &s, unsigned long frames, uint8_t *out, size_t room,
         struct dicom_decoded *d) {
  DcmElement *element = nullptr;
  DcmPixelSequence *sequence = nullptr;
  std::vector<std::vector<uint8_t>> parts;
  if (s.allocated != 8 && s.allocated != 16) return false;
  if (data->findAndGetElement(DCM_PixelData, element).bad()) return false;
  auto *pixels = OFstatic_cast(DcmPixelData *, element);
  if (pixels->getEncapsulatedRepresentation(syntax, nullptr, sequence).bad() || !frames_of(sequence, frames, parts)) return false;
  if (s.frame() == 0 || frames > room / s.frame()) return false;
  for (unsigned long i = 0; i < frames; i++)
    if (!j2k_frame(parts[i].data(), parts[i].size(), s, out + i * s.frame())) return false;
  d->n = frames * s.frame();
  OFString photometric;
  data->findAndGetOFString(DCM_PhotometricInterpretation, photometric);
  if (photometric == "YBR_RCT" || photometric == "YBR_ICT") photometric = "RGB";
  strncpy(d->photometric, photometric.c_str(), sizeof d->photometric - 1);
  d->planar = 0;
  return true;
}

bool others(DcmDataset *data, uint8_t *out, size_t room, struct dicom_decoded *d) {
  DcmElement *element = nullptr;
  if (data->chooseRepresentation(EXS_LittleEndianExplicit, nullptr).bad() || !data->canWriteXfer(EXS_LittleEndianExplicit)) return false;
  if (data->findAndGetElement(DCM_PixelData, element).bad()) return false;
  size_t n = element->getLength(EXS_LittleEndianExplicit);
  if (n == 0 || n > room) return false;
  Uint8 *p8 = nullptr;
  Uint16 *p16 = nullptr;
  if (element->getVR() == EVR_OW && element->getUint16Array(p16).good() && p16)
    memcpy(out, p16, n);
  else if (element->getUint8Array(p8).good() && p8)
    memcpy(out, p8, n);
  else
    return false;
  OFString photometric;
  data->findAndGetOFString(DCM_PhotometricInterpretation, photometric);
  strncpy(d->photometric, photometric.c_str(), sizeof d->photometric - 1);
  d->n = n;
  data->findAndGetUint16(DCM_PlanarConfiguration, d->planar);
  return true;
}

bool decode(const uint8_t *file, size_t n, uint8_t *out, size_t room, struct dicom_decoded *d) {
  DcmInputBufferStream stream;
  DcmFileFormat format;
  stream.setBuffer(file, static_cast<offile_off_t>(n));
  stream.setEos();
  format.transferInit();
  OFCondition read = format.read(stream);
  format.transferEnd();
  if (read.bad()) return false;
  DcmDataset *data = format.getDataset();
  shape s;
  Sint32 frames = 1;
  data->findAndGetUint16(DCM_Rows, s.rows);
  data->findAndGetUint16(DCM_Columns, s.columns);
  data->findAndGetUint16(DCM_SamplesPerPixel, s.samples);
  data->findAndGetUint16(DCM_BitsAllocated, s.allocated);
  data->findAndGetUint16(DCM_PixelRepresentation, s.is_signed);
  data->findAndGetSint32(DCM_NumberOfFrames, frames);
  if (frames < 1) frames = 1;
  E_TransferSyntax syntax = data->getOriginalXfer();
  bool wavelet = syntax == EXS_JPEG2000 || syntax == EXS_JPEG2000LosslessOnly;
  bool good = wavelet ? j2k(data, syntax, s, static_cast<unsigned long>(frames), out, room, d) : others(data, out, room, d);
  if (!good) return false;
  data->findAndGetUint16(DCM_SamplesPerPixel, d->samples);
  data->findAndGetUint16(DCM_BitsAllocated, d->allocated);
  data->findAndGetUint16(DCM_BitsStored, d->stored);
  data->findAndGetUint16(DCM_HighBit, d->high);
  data->findAndGetUint16(DCM_PixelRepresentation, d->is_signed);
  return true;
}

}  // namespace

bool dicom_decode(const uint8_t *file, size_t n, uint8_t *out, size_t room, struct dicom_decoded *d) {
  memset(d, 0, sizeof *d);
  try {
    return decode(file, n, out, room, d);
  } catch (...) { return false; }
}
