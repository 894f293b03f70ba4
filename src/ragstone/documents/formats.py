"""Which files are documents, by name. Content decides only where the name says nothing.

`READERS` maps an extension to a reader's name (`readers.load`). `NEVER` holds what no one means to search
(skipped in folders, counted); `UNREADABLE` holds documents that we cannot read, which are always reported.
Every other name is read as text if it decodes as text.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Final, Literal, TypeAlias

Verdict: TypeAlias = Literal["document", "never", "unreadable", "archive"]


def _table(**extensions_by_format: str) -> dict[str, str]:
    return {ext: name for name, listed in extensions_by_format.items() for ext in listed.split()}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


READERS: Final = _table(
    text="txt text log",
    markdown="md markdown mdx mkd mdown qmd rmd",
    rst="rst rest",
    html="html htm xhtml",
    pdf="pdf",
    docx="docx docm dotx",
    pptx="pptx pptm ppsx",
    xlsx="xlsx xlsm",
    odt="odt ott fodt",
    epub="epub",
    csv="csv tsv",
    json="json geojson jsonld webmanifest",
    jsonl="jsonl ndjson",
    notebook="ipynb",
    mail="eml",
    subtitles="srt vtt",
    xml="xml rss atom xsd xsl xslt opml rdf kml gpx dita docbook",
    latex="tex latex ltx sty cls bib",
    zip="zip",
    code=(
        "py pyi pyx js mjs cjs jsx ts tsx mts cts java kt kts scala groovy c h cc cpp cxx hpp hh hxx cu cuh m mm "
        "cs fs go rs rb php pl pm swift lua r jl dart ex exs erl hrl hs ml mli clj cljs lisp el scm sh bash zsh "
        "fish ps1 bat sql proto graphql gql tf hcl vue svelte css scss sass less zig nim d f90 f95 f for pas vb "
        "asm s v sv vhd vhdl cmake mk gradle sol nix"
    ),
)

# Office formats before 2007, mail stores and the like: the reader would be a new dependency each.
UNREADABLE: Final = _words(
    "doc dot ppt pps xls xlsb msg pst pages numbers key odp ods odg rtf mobi azw azw3 djvu wpd wps one pub vsd "
    "vsdx ps eps xps oxps chm hwp"
)

NEVER: Final = _words(
    # pictures, sound, film, type
    "png jpg jpeg gif bmp tif tiff webp avif heic heif ico icns svg svgz psd ai xcf raw cr2 nef dng mp3 wav flac ogg "
    "oga opus m4a aac wma aiff mid midi mp4 m4v mkv mov avi wmv webm flv mpg mpeg 3gp ogv ttf otf woff woff2 eot "
    # archives and images of disks (a zip is looked into: see `archives`)
    "gz tgz bz2 tbz xz txz zst lz lz4 lzma br 7z rar tar cab iso img dmg vhd vmdk qcow2 deb rpm apk jar war ear whl "
    "egg nupkg snap crx xpi "
    # programs and what compilers leave
    "exe dll so dylib a lib o obj ko bin com msi class pyc pyo pyd wasm node pdb dsym beam rlib "
    # databases, indexes, models, arrays
    "db sqlite sqlite3 mdb accdb faiss pkl pickle npy npz pt pth onnx safetensors h5 hdf5 ckpt gguf tflite parquet "
    "arrow feather avro orc mat rds rdata sav dta shp dbf "
    # made by machines for machines
    "map lock swp swo tmp bak orig rej part crdownload pem crt cer der p12 pfx gpg asc sig "
    # 3-D and design
    "stl blend fbx glb gltf dwg dxf fig sketch"
)

_NEVER_NAMES: Final = frozenset(
    {"package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "go.sum", "thumbs.db", "desktop.ini"}
)
_NEVER_ENDINGS: Final = (".min.js", ".min.css", ".min.mjs", "~", ".js.map", ".css.map", "-lock.json")
# Trees of other people's files or of machine output; a root given by name is walked all the same.
NEVER_FOLDERS: Final = frozenset({"node_modules", "__pycache__", "__pypackages__", "bower_components"})


def extension(name: str) -> str:
    """The last extension of a file name, lower case, without the dot; '' if there is none."""
    return PurePath(name).suffix[1:].lower()


def verdict(name: str) -> Verdict:
    """What a file's name alone says about it."""
    dot = name.rfind(".")
    ending = name[dot + 1 :].lower() if dot > 0 else ""  # not `extension`: this runs for each file of a walk
    if ending == "zip":
        return "archive"
    if ending in UNREADABLE:
        return "unreadable"
    if ending in NEVER or name.lower() in _NEVER_NAMES or name.endswith(_NEVER_ENDINGS):
        return "never"
    return "document"
