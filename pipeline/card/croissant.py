"""croissant.json: the dataset in MLCommons' Croissant 1.1, with the vocabularies of responsible AI and provenance."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.card import sentences
from pipeline.card.contents import Card
from pipeline.card.files import INDEX_FILE
from pipeline.card.index import COLUMNS, index_columns
from pipeline.shards.digest import file_digest
from pipeline.shards.record import DATASET_FILE, MANIFEST_FILE, STORED_NAMES
from pipeline.source.known_stacks import class_names

CROISSANT = "http://mlcommons.org/croissant/1.1"
RESPONSIBLE_AI = "http://mlcommons.org/croissant/RAI/1.0"

# mlcroissant warns of a context that lacks one of its terms. Its schema.org is https, the specification's http.
_LANGUAGE = {"@container": "@language"}
_CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": _LANGUAGE,
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": _LANGUAGE,
    **{
        term: f"cr:{term}"
        for term in (
            *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject"),
            *("fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5"),
            *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate"),
            *("separator", "source", "subField", "transform"),
        )
    },
}
_KEYWORDS = ["segmentation", "microscopy", "data augmentation", "HDF5"]
_SPLITS = {"train": "cr:TrainingSplit", "val": "cr:ValidationSplit", "test": "cr:TestSplit"}
_TYPES = {str: "sc:Text", int: "sc:Integer", float: "sc:Float", bool: "sc:Boolean"}


def make_croissant(card: Card, *, data_at: str = "", url: str | None = None) -> dict[str, Any]:
    """Return the dataset in Croissant, as plain JSON values.

    Args:
        card: its contents.
        data_at: the path from croissant.json to the dataset's own files, such as `../`; empty where they lie
            beside it.
        url: the dataset's page; unless given, a name made from the digest of dataset.json (RFC 6920).
    """
    return {
        "@context": dict(_CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": [CROISSANT, RESPONSIBLE_AI],
        "name": card.key,
        "description": sentences.summary(card),
        "url": url or _digest_uri(card.dataset.digest),
        "license": sentences.licence_values(card),
        "version": f"{card.record.renderer}.0.0",
        "datePublished": card.date,
        "isLiveDataset": False,
        "inLanguage": "en",
        "keywords": [*_KEYWORDS, "synthetic"] if card.source.synthetic else _KEYWORDS,
        # Croissant asks for a creator, a person or an organisation, and no record names one.
        "creator": {"@type": "sc:Organization", "name": f"not named; made with {sentences.makers(card)}"},
        "citeAs": _citation(card),
        **_responsible_ai(card),
        **_provenance(card),
        "distribution": _files(card, data_at),
        "recordSet": [_splits(card), *_classes(card), _samples(card)],
    }


def _files(card: Card, data_at: str) -> list[dict[str, Any]]:
    index, dataset, record = card.index, card.dataset.record_path, card.record
    recipes = "a line of JSON for every sample, with its whole recipe"
    identity = "what the dataset is; its digest is the one to cite"
    data = [
        (MANIFEST_FILE, "application/jsonl", record.manifest.bytes, record.manifest.sha256, recipes),
        (DATASET_FILE, "application/json", dataset.stat().st_size, card.dataset.digest, identity),
    ]
    for shard in record.shards:
        others = [STORED_NAMES[name] for name in record.array_names(shard.split)]
        samples = f"{shard.n} samples of {shard.split}: {', '.join(others)} and ids"
        data.append((shard.file, "application/x-hdf5", shard.bytes, shard.sha256, samples))
    own = (INDEX_FILE, "text/csv", index.stat().st_size, file_digest(index), "a line for every sample")
    return [_file("", *own), *(_file(data_at, *file) for file in data)]


def _file(folder: str, name: str, encoding: str, n_bytes: int, sha256: str, description: str) -> dict[str, Any]:
    return {
        **_named("cr:FileObject", name, description),
        "contentUrl": f"{folder}{name}",
        "contentSize": f"{n_bytes} B",
        "encodingFormat": encoding,
        "sha256": sha256,
    }


def _splits(card: Card) -> dict[str, Any]:
    return {
        **_named("cr:RecordSet", "splits", "The splits: whole slices, assigned before anything was augmented."),
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [
            {"@type": "cr:Field", "@id": "splits/name", "name": "name", "dataType": "sc:Text"},
            {"@type": "cr:Field", "@id": "splits/url", "name": "url", "dataType": ["sc:URL", "cr:Split"]},
        ],
        "data": [{"splits/name": split, "splits/url": _SPLITS[split]} for split in card.record.splits],
    }


def _classes(card: Card) -> Iterator[dict[str, Any]]:
    """Yield what labels mean, where the classes have names."""
    names, record = class_names(card.record.inputs), card.record
    if not names:
        return
    values = [each.value for each in record.classes] or [0, 1]
    about = "0, and the ids of objects from 1" if record.label_kind == "instances" else "the values in /labels"
    kinds = {"label": "sc:Integer", "value": "sc:Integer", "name": "sc:Text"}
    yield {
        **_named(
            "cr:RecordSet", "classes", f"The classes: {about}, the values that they had in the source, and names."
        ),
        "key": {"@id": "classes/label"},
        "field": [
            {"@type": "cr:Field", "@id": f"classes/{key}", "name": key, "dataType": kind} for key, kind in kinds.items()
        ],
        "data": [
            {"classes/label": index, "classes/value": value, "classes/name": name}
            for index, (value, name) in enumerate(zip(values, names, strict=True))
        ],
    }


def _samples(card: Card) -> dict[str, Any]:
    """Return the index as a record set; the arrays have none, because no reader of Croissant opens HDF5."""
    description = "Every sample: where it is stored, what it was made from and how, its arrays' digests."
    return {
        **_named("cr:RecordSet", "samples", description),
        "key": {"@id": "samples/id"},
        "field": [_column(name) for name in index_columns(card.record)],
    }


def _column(name: str) -> dict[str, Any]:
    kind, description = COLUMNS[name]
    return {
        **_named("cr:Field", name, description),
        "@id": f"samples/{name}",
        "dataType": _TYPES[kind],
        "source": {"fileObject": {"@id": INDEX_FILE}, "extract": {"column": name}},
        **({"references": {"field": {"@id": "splits/name"}}} if name == "split" else {}),
    }


def _named(kind: str, name: str, description: str) -> dict[str, Any]:
    return {"@type": kind, "@id": name, "name": name, "description": description}


def _responsible_ai(card: Card) -> dict[str, Any]:
    personal = "none: the stack is synthetic" if card.source.synthetic else "not examined"
    use = "training and testing" if card.held_out else "training"
    values: Mapping[str, str | Sequence[str]] = {
        "dataCollection": sentences.origin(card),
        "dataManipulationProtocol": sentences.rendering(card),
        "dataPreprocessingProtocol": [f"Split strategy {sentences.strategy(card)}.", sentences.guarantee(card)],
        "dataAnnotationProtocol": [
            "The labels are those of the source, transformed with their images; none was added."
        ],
        "dataLimitations": [f"Audit: {card.report.verdict}.", *sentences.findings(card), *sentences.limits(card)],
        "dataUseCases": [f"{use} segmentation networks on slices of such a stack"],
        "dataBiases": ["All samples show only tissue of the source; samples of one slice are not independent."],
        "personalSensitiveInformation": [personal],
    }
    return {f"rai:{term}": value for term, value in values.items()}


def _provenance(card: Card) -> dict[str, Any]:
    title, url, inputs = card.source.title, card.source.url, card.record.inputs
    stacks = [
        {
            "@type": "prov:Entity",
            "@id": f"source/stack-{index}",
            "prov:label": title if len(inputs) == 1 else f"{title}, stack {index}",
            "prov:value": f"images sha256:{stack.images.sha256} labels sha256:{stack.labels.sha256}",
            **({} if url is None else {"prov:atLocation": url}),
        }
        for index, stack in enumerate(inputs)
    ]
    activity = {
        "@type": "prov:Activity",
        "@id": f"build/{card.record.fingerprint}",
        "prov:label": f"augpipe build, renderer version {card.record.renderer}",
        "prov:value": f"fingerprint {card.record.fingerprint}",
        "prov:wasAssociatedWith": {"@type": "prov:SoftwareAgent", "prov:label": sentences.makers(card)},
    }
    return {"prov:wasDerivedFrom": stacks, "prov:wasGeneratedBy": activity}


def _citation(card: Card) -> str:
    title = f"{card.title}: {card.record.n} samples of {card.source.title}"
    made, source = sentences.makers(card), sentences.citation(card)
    note = f"made with {made}, SHA-256 of dataset.json {card.dataset.digest}; source: {source}"
    return f"@misc{{{card.key}, title = {{{_braced(title)}}}, note = {{{_braced(note)}}}}}"


def _braced(text: str) -> str:
    """Return text that may stand in braces in BibTeX, which counts them and knows no way to escape one."""
    return text.replace("{", "(").replace("}", ")")


def _digest_uri(sha256: str) -> str:
    """Return the name that RFC 6920 gives to bytes of this digest."""
    return f"ni:///sha-256;{base64.urlsafe_b64encode(bytes.fromhex(sha256)).decode('ascii').rstrip('=')}"
