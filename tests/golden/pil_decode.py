#!/usr/bin/env python3
"""Small images of every kind the decoders take, and what Pillow makes of them (pip install pillow==12.0.0 numpy).

Writes decode/NAME.EXT (the file), decode/NAME.rgb (Image.convert("RGB") pixels) and decode/NAME.grey (convert("L"), of the RGB).
"""
import io, os
import numpy as np
from PIL import Image

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "decode")
os.makedirs(here, exist_ok=True)
W, H = 37, 26

def scene(w, h, channels):
    """Smooth colour, one hard edge and a little texture: upsampling and rounding show."""
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    planes = [128 + 100 * np.sin(x / (3.0 + c) + y / (5.0 - c)) + 20 * ((x + 2 * y + c) % 5 == 0) - 60 * (x > w * 0.6)
              for c in range(channels)]
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8).squeeze()

def save(name, image, **options):
    path = os.path.join(here, name)
    image.save(path, **options)
    emit(path)

def emit(path):
    rgb = Image.open(path).convert("RGB")
    stem = os.path.splitext(path)[0]
    open(stem + ".rgb", "wb").write(rgb.tobytes())
    open(stem + ".grey", "wb").write(rgb.convert("L").tobytes())

rgb, grey, cmyk = (Image.fromarray(scene(W, H, 3)), Image.fromarray(scene(W, H, 1)), Image.fromarray(scene(W, H, 4), "CMYK"))
for tag, sub in (("444", 0), ("422", 1), ("420", 2)):
    save("jpeg_%s.jpg" % tag, rgb, quality=90, subsampling=sub)
save("jpeg_progressive.jpg", rgb, quality=85, progressive=True)
save("jpeg_grey.jpg", grey, quality=90)
save("jpeg_cmyk.jpg", cmyk, quality=90)
exif = Image.Exif()
exif[0x0112] = 6
save("jpeg_exif6.jpg", rgb, quality=80, exif=exif)
save("png_rgb.png", rgb)
save("png_grey.png", grey)
save("png_rgba.png", Image.merge("RGBA", (*rgb.split(), grey)))
save("png_la.png", Image.merge("LA", (grey, grey)))
save("png_palette.png", rgb.quantize(17))
save("png_palette_trns.png", rgb.quantize(5), transparency=1)
save("png_1bit.png", grey.convert("1"))
save("pnm_p6.ppm", rgb)
save("pnm_p5.pgm", grey)
