"""The examples: what is drawn, where, and in which format.

They were chosen for what they show, before any model saw them.
"""

from examples.phantoms.contrast import Sequence
from examples.phantoms.lesions import Glioma, Meningioma, PituitaryTumour
from examples.phantoms.plane import Plane, View
from examples.phantoms.slices import Encoding, Example, Subject

GLIOMA, MENINGIOMA, PITUITARY, NONE = (
    "glioma_tumor",
    "meningioma_tumor",
    "pituitary_tumor",
    "no_tumor",
)
T1, T1C, T2, FLAIR = Sequence.T1, Sequence.T1C, Sequence.T2, Sequence.FLAIR
AXIAL, CORONAL, SAGITTAL = View.AXIAL, View.CORONAL, View.SAGITTAL

FRONTAL = Glioma(centre=(30, 28, 24), radii=(19, 22, 18))
PARIETAL = Glioma(centre=(-30, -42, 30), radii=(20, 23, 20), push_mm=8, oedema_mm=26)
TEMPORAL = Glioma(centre=(40, -12, -8), radii=(15, 22, 15), push_mm=6, oedema_mm=20)
INSULAR = Glioma(centre=(-36, 8, 10), radii=(17, 26, 20), high_grade=False, oedema_mm=8)
CONVEXITY = Meningioma(centre=(-52, 20, 34), radii=(22, 25, 22), push_mm=10)
FALX = Meningioma(centre=(7, 2, 58), radii=(15, 19, 17), push_mm=9)
OCCIPITAL = Meningioma(centre=(38, -82, 16), radii=(18, 18, 19), oedema_mm=18)
PLANUM = Meningioma(centre=(2, 36, -16), radii=(18, 19, 15), push_mm=9, tail_mm=18)
MACRO = PituitaryTumour(sellar=(12, 10, 9), suprasellar=(12, 11, 11), rise_mm=15)
SELLAR = PituitaryTumour(sellar=(10, 9, 9), suprasellar=(8, 8, 8), rise_mm=11, push_mm=3)

EXAMPLES: tuple[Example, ...] = (
    Example("glioma-t1c-axial.jpg", GLIOMA, T1C,
            Plane(AXIAL, (0, -18, 24), 230, 512, 512, (4, 1, 2)),
            Encoding.GREY_JPEG, 101, FRONTAL),
    Example("glioma-t1c-coronal.png", GLIOMA, T1C,
            Plane(CORONAL, (0, -12, 8), 225, 288, 288, (-3, 1, 0)),
            Encoding.GREY_PNG, 102, TEMPORAL),
    Example("glioma-t1c-sagittal.webp", GLIOMA, T1C,
            Plane(SAGITTAL, (-28, -18, -4), 240, 256, 256, (2, 0, 0)),
            Encoding.WEBP, 103, PARIETAL),
    Example("glioma-t2-axial.png", GLIOMA, T2,
            Plane(AXIAL, (0, -18, 28), 220, 256, 288, (5, 0, -2)),
            Encoding.DEEP_PNG, 104, PARIETAL),
    Example("glioma-flair-axial.tiff", GLIOMA, FLAIR,
            Plane(AXIAL, (0, -18, 10), 230, 256, 256, (6, -1, 1)),
            Encoding.TIFF, 105, INSULAR),
    Example("glioma-t1-axial.png", GLIOMA, T1,
            Plane(AXIAL, (0, -18, 22), 225, 256, 256, (3, 0, 3)),
            Encoding.GREY_PNG, 106, FRONTAL),
    Example("meningioma-t1c-axial.png", MENINGIOMA, T1C,
            Plane(AXIAL, (0, -18, 34), 225, 288, 288, (4, 1, -1)),
            Encoding.GREY_PNG, 111, CONVEXITY),
    Example("meningioma-t1c-coronal.bmp", MENINGIOMA, T1C,
            Plane(CORONAL, (0, 2, 12), 220, 240, 240, (0, 1, 1)),
            Encoding.BMP, 112, FALX),
    Example("meningioma-t1c-sagittal.jpg", MENINGIOMA, T1C,
            Plane(SAGITTAL, (4, -12, 0), 240, 512, 512, (3, 0, 1)),
            Encoding.RGB_JPEG, 113, PLANUM),
    Example("meningioma-t2-axial.jpg", MENINGIOMA, T2,
            Plane(AXIAL, (0, -18, 16), 225, 320, 320, (5, 0, 1)),
            Encoding.GREY_JPEG, 114, OCCIPITAL),
    Example("pituitary-t1c-sagittal.png", PITUITARY, T1C,
            Plane(SAGITTAL, (0, -14, -6), 240, 288, 288, (2, 1, 0)),
            Encoding.GREY_PNG, 121, MACRO),
    Example("pituitary-t1c-coronal.jpg", PITUITARY, T1C,
            Plane(CORONAL, (0, 5, -6), 205, 512, 512, (0, -1, 1)),
            Encoding.GREY_JPEG, 122, MACRO),
    Example("pituitary-t1c-axial.png", PITUITARY, T1C,
            Plane(AXIAL, (0, -12, -22), 235, 256, 256, (2, 0, 1)),
            Encoding.PALETTE_PNG, 123, MACRO),
    Example("pituitary-t1c-coronal-small.webp", PITUITARY, T1C,
            Plane(CORONAL, (0, 4, -8), 210, 256, 256, (0, 1, 0)),
            Encoding.WEBP, 124, SELLAR),
    Example("normal-t1-axial.png", NONE, T1,
            Plane(AXIAL, (0, -18, 8), 225, 256, 256, (5, 0, 1)),
            Encoding.RGBA_PNG, 131),
    Example("normal-t2-axial.jpg", NONE, T2,
            Plane(AXIAL, (0, -18, 12), 220, 400, 448, (5, 1, 0)),
            Encoding.GREY_JPEG, 132),
    Example("normal-flair-axial.png", NONE, FLAIR,
            Plane(AXIAL, (0, -18, 20), 220, 256, 288, (4, 0, 2)),
            Encoding.GREY_PNG, 133),
    Example("normal-t1-sagittal.webp", NONE, T1,
            Plane(SAGITTAL, (1, -14, -4), 245, 256, 256, (1, 0, 0)),
            Encoding.WEBP, 134),
    Example("normal-t2-mono1.dcm", NONE, T2,
            Plane(AXIAL, (0, -18, 22), 225, 224, 224, (6, 0, 0)),
            Encoding.DICOM_INVERTED, 135),
    *(
        Example(f"series-01/slice-{number:02}.dcm", GLIOMA, FLAIR,
                Plane(AXIAL, (0, -18, 14 + 6 * number), 225, 192, 192, (5, 0, 1)), Encoding.DICOM,
                141, PARIETAL, instance=number)
        for number in range(1, 5)
    ),
    Example("odd/motion.png", NONE, T1,
            Plane(AXIAL, (0, -18, 14), 225, 256, 256, (4, 0, 1)), Encoding.GREY_PNG, 151,
            motion_px=5.0),
    Example("odd/test-object.png", "", T1,
            Plane(AXIAL, (0, 0, 0), 220, 256, 256), Encoding.GREY_PNG, 152,
            subject=Subject.TEST_OBJECT),
    Example("odd/localizer.dcm", "", T1,
            Plane(SAGITTAL, (2, -14, -4), 250, 128, 128), Encoding.DICOM, 153,
            localizer=True, noise=0.03),
    Example("odd/knee.dcm", "", T1,
            Plane(SAGITTAL, (0, 0, 0), 160, 160, 160), Encoding.DICOM, 154,
            subject=Subject.KNEE),
)  # fmt: skip
