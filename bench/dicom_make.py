"""Inputs for run-deid-dicom: images from renderings, stripped copies, many small files, and the peer's loop.

    from-png DIRECTORY BOXES OUT    a DICOM image for each rendering NAME.png whose NAME.dcm the boxes name but the directory lacks
    strip IN OUT                    IN without elements of odd groups
    many DIRECTORY OUT N            N files made from the small ones of DIRECTORY (100 kB or less), other instances and patients
    peer IN OUT                     dicom-anonymizer over every file of IN
"""
import json, os, struct, sys, warnings, zlib

warnings.simplefilter("ignore")


def png(path):
    import numpy as np
    data, at, packed = open(path, "rb").read(), 8, b""
    while at < len(data):
        n, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + n]
        at += 12 + n
        if kind == b"IHDR":
            w, h, depth, colour = struct.unpack(">IIBB", body[:10])
        if kind == b"IDAT":
            packed += body
    if depth != 8 or colour != 0:
        raise SystemExit("only 8-bit grey")
    raw, out, above = zlib.decompress(packed), np.zeros((h, w), np.uint8), bytearray(w)
    for y in range(h):
        how, line = raw[y * (w + 1)], bytearray(raw[y * (w + 1) + 1:(y + 1) * (w + 1)])
        for x in range(w):
            a, u, c = line[x - 1] if x else 0, above[x], above[x - 1] if x else 0
            if how == 1:
                line[x] = (line[x] + a) & 255
            elif how == 2:
                line[x] = (line[x] + u) & 255
            elif how == 3:
                line[x] = (line[x] + (a + u) // 2) & 255
            elif how == 4:
                p = a + u - c
                pa, pb, pc = abs(p - a), abs(p - u), abs(p - c)
                line[x] = (line[x] + (a if pa <= pb and pa <= pc else u if pb <= pc else c)) & 255
        above = line
        out[y] = np.frombuffer(bytes(line), np.uint8)
    return out


def from_png(where, boxes, out):
    from pydicom.dataset import Dataset, FileMetaDataset
    files = {n: os.path.join(r, n) for r, _, names in os.walk(where) for n in names}
    for k, name in enumerate(sorted(json.load(open(boxes)))):
        rendering = name.replace(".dcm", ".png")
        if name in files or rendering not in files:
            continue
        image, ds = png(files[rendering]), Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        ds.is_little_endian, ds.is_implicit_VR = True, False
        ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.826.0.1.3680043.10.999.%d" % k
        ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.826.0.1.3680043.10.999.1.%d" % k, "1.2.826.0.1.3680043.10.999.2.%d" % k
        ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
        ds.StudyDate, ds.StudyTime, ds.Modality = "20130911", "162658", "CR"
        ds.PatientName, ds.PatientID = "RENDERING^%s" % chr(65 + k), "R-4471%03d" % k
        ds.Rows, ds.Columns = image.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
        ds.PixelData = image.tobytes()
        ds.save_as(os.path.join(out, name), write_like_original=False)


def strip(path, out):
    import pydicom
    ds = pydicom.dcmread(path)
    for tag in [el.tag for el in ds if el.tag.group % 2]:
        del ds[tag]
    ds.save_as(out)


def many(where, out, n):
    import pydicom
    os.mkdir(out)
    small = [os.path.join(r, f) for r, _, names in os.walk(where) for f in sorted(names) if os.path.getsize(os.path.join(r, f)) <= 100000]
    base = [pydicom.dcmread(p) for p in sorted(small)]
    for i in range(n):
        ds = base[i % len(base)]
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.10.999.3.%d" % i
        ds.PatientID, ds.PatientName = "B-55%04d" % (i // 20), "BENCH^N%d" % (i // 20)
        ds.save_as(os.path.join(out, "%06d.dcm" % i))


def peer(where, out):
    from dicomanonymizer import anonymize_dicom_file
    for f in sorted(os.listdir(where)):
        anonymize_dicom_file(os.path.join(where, f), os.path.join(out, f))


if __name__ == "__main__":
    what, args = sys.argv[1], sys.argv[2:]
    if what == "many":
        args[2] = int(args[2])
    {"from-png": from_png, "strip": strip, "many": many, "peer": peer}[what](*args)
