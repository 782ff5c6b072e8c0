import numpy as np
from PIL import Image

from finetune.audit.look import look
from finetune.audit.unreadable import _ODD, check
from finetune.data.catalog import LeftOut
from finetune.errors import UnreadableImage
from tests.audit.toys import encoded, kinds, known, scene, seen
from tests.hazards.images import READ


def test_each_file_that_cannot_be_read_is_a_warning_of_its_kind():
    unreadable = {
        "a/1.jpg": UnreadableImage("web-page", "not an image but a web page; the download went wrong"),
        "a/2.jpg": UnreadableImage("truncated", "the file ends before its image does"),
    }
    found = list(check(known({"a/0.png": seen(scene(0))}, unreadable=unreadable)))
    assert kinds(found) == [("web-page", "warning", ("a/1.jpg",)), ("truncated", "warning", ("a/2.jpg",))]
    assert found[0].text == "cannot be read: not an image but a web page; the download went wrong"


def test_oddities_are_one_note_each_with_all_their_images():
    grey16 = Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16)
    looks = {
        "a/0.png": seen(scene(0)),
        "a/1.jpg": look(encoded(scene(1)), suffix=".jpg"),
        "a/2.jpg": look(encoded(scene(2)), suffix=".jpg"),
        "a/3.png": look(encoded(Image.new("RGBA", (40, 30), (9, 9, 9, 9))), suffix=".png"),
        "a/4.png": look(encoded(scene(3), save_all=True, append_images=[scene(4)]), suffix=".png"),
        "a/5.png": look(encoded(grey16), suffix=".png"),
        "a/6.jpg": look(encoded(scene(5).convert("CMYK"), "JPEG"), suffix=".jpg"),
    }
    assert looks["a/4.png"].animated
    assert not looks["a/1.jpg"].suffix_is_right
    assert looks["a/6.jpg"].mode == "CMYK"
    assert kinds(check(known(looks))) == [
        ("wrong-suffix", "note", ("a/1.jpg", "a/2.jpg")),
        ("animated", "note", ("a/4.png",)),
        ("transparent", "note", ("a/3.png",)),
        ("16-bit", "note", ("a/5.png",)),
        ("cmyk", "note", ("a/6.jpg",)),
    ]


def test_every_note_of_the_decoder_has_a_kind():
    notes = {note for case in READ.values() for note in case.notes}
    assert notes - {"turned upright by EXIF"} <= set(_ODD)
    assert len(notes) > 5


def test_images_in_other_formats_and_broken_links_are_not_passed_over():
    left = (
        LeftOut("a/1.gif", "format not allowed (.gif); JPEG is read"),
        LeftOut("a/2.heic", "format not allowed (.heic); JPEG is read"),
        LeftOut("a/3.jpg", "a link that leads nowhere"),
        LeftOut("a/notes.txt", "not an image suffix"),
    )
    assert kinds(check(known({"a/0.png": seen(scene(0))}, left_out=left))) == [
        ("format-not-read", "warning", ("a/1.gif", "a/2.heic")),
        ("broken-link", "warning", ("a/3.jpg",)),
    ]
