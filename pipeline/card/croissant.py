"""croissant.json: the dataset in MLCommons' Croissant 1.1, with the vocabularies of responsible AI and provenance."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.card.index import COLUMNS, index_columns, index_csv
from pipeline.card.record import CardRecord
from pipeline.card.terms import citation, licence_values
from pipeline.card.words import findings, guarantee, limits, makers, one_line, origin, rendering, strategy
from pipeline.shards.digest import bytes_digest
from pipeline.shards.record import DATASET_FILE, MANIFEST_FILE

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
_SPLITS = {"train": "cr:TrainingSplit", "val": "cr:ValidationSplit", "test": "cr:TestSplit"}
_TYPES = {str: "sc:Text", int: "sc:Integer", float: "sc:Float", bool: "sc:Boolean"}
_INDEX = "index.csv"


def croissant(card: CardRecord, *, data_at: str = "", url: str | None = None) -> dict[str, Any]:
    """Return the dataset in Croissant, as plain JSON values.

    Args:
        card: what is known.
        data_at: what leads from croissant.json to the dataset's own files, such as `../`; nothing where they lie
            beside it.
        url: the dataset's page; unless given, a name made from the digest of dataset.json (RFC 6920).
    """
    return {
        "@context": dict(_CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": [CROISSANT, RESPONSIBLE_AI],
        "name": card.key,
        "description": one_line(card),
        "url": url or _digest_uri(card.dataset.digest),
        "license": licence_values(card),
        "version": f"{card.facts['renderer']}.0.0",
        "datePublished": card.date,
        "isLiveDataset": False,
        "inLanguage": "en",
        "keywords": ["segmentation", "microscopy", "data augmentation", "HDF5", *["synthetic"] * card.synthetic],
        # Croissant asks for a creator, a person or an organisation, and no record names one.
        "creator": {"@type": "sc:Organization", "name": f"not named; made with {makers(card)}"},
        "citeAs": _citation(card),
        **_responsible_ai(card),
        **_provenance(card),
        "distribution": list(_files(card, data_at)),
        "recordSet": [_splits(card), _samples(card)],
    }


def _files(card: CardRecord, data_at: str) -> Iterable[dict[str, Any]]:
    record, index = card.record, index_csv(card.rows)
    yield _file(_INDEX, "text/csv", len(index), bytes_digest(index), "a line for every sample")
    manifest = f"{data_at}{MANIFEST_FILE}"
    told = "a line of JSON for every sample, with its whole recipe"
    yield _file(manifest, "application/jsonl", record.manifest.bytes, record.manifest.sha256, told)
    dataset = card.dataset.record_path
    told = "what the dataset is; its digest is the one to cite"
    yield _file(f"{data_at}{DATASET_FILE}", "application/json", dataset.stat().st_size, card.dataset.digest, told)
    for shard in record.shards:
        told = f"{shard.n} samples of {shard.split}: images, labels{', weights' * record.has_weights} and ids"
        yield _file(f"{data_at}{shard.file}", "application/x-hdf5", shard.bytes, shard.sha256, told)


def _file(path: str, kind: str, n_bytes: int, sha256: str, description: str) -> dict[str, Any]:
    name = path.rpartition("/")[2]
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "description": description,
        "contentUrl": path,
        "contentSize": f"{n_bytes} B",
        "encodingFormat": kind,
        "sha256": sha256,
    }


def _splits(card: CardRecord) -> dict[str, Any]:
    splits = card.facts["split"]["samples"]
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "description": "The splits: whole slices, assigned before anything was augmented.",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [
            {"@type": "cr:Field", "@id": "splits/name", "name": "name", "dataType": "sc:Text"},
            {"@type": "cr:Field", "@id": "splits/url", "name": "url", "dataType": ["sc:URL", "cr:Split"]},
        ],
        "data": [{"splits/name": split, "splits/url": _SPLITS[split]} for split in splits],
    }


def _samples(card: CardRecord) -> dict[str, Any]:
    """Return the index as a record set; there is none of the arrays, because no reader of Croissant opens HDF5."""
    return {
        "@type": "cr:RecordSet",
        "@id": "samples",
        "name": "samples",
        "description": "Every sample: where it is stored, what it was made from and how, its arrays' digests.",
        "key": {"@id": "samples/id"},
        "field": [_column(name) for name in index_columns(card.rows)],
    }


def _column(name: str) -> dict[str, Any]:
    kind, description = COLUMNS[name]
    return {
        "@type": "cr:Field",
        "@id": f"samples/{name}",
        "name": name,
        "description": description,
        "dataType": _TYPES[kind],
        "source": {"fileObject": {"@id": _INDEX}, "extract": {"column": name}},
        **({"references": {"field": {"@id": "splits/name"}}} if name == "split" else {}),
    }


def _responsible_ai(card: CardRecord) -> dict[str, Any]:
    personal = "none: the stack is synthetic" if card.synthetic else "not examined"
    values: Mapping[str, str | Sequence[str]] = {
        "dataCollection": origin(card),
        "dataManipulationProtocol": rendering(card),
        "dataPreprocessingProtocol": [f"Split strategy {strategy(card)}.", guarantee(card)],
        "dataAnnotationProtocol": [
            "The labels are those of the source, transformed with their images; none was added."
        ],
        "dataLimitations": [f"Audit: {card.report.verdict}.", *findings(card), *limits(card)],
        "dataUseCases": [
            f"training{' and testing' * bool(card.held_out)} segmentation networks on slices of such a stack"
        ],
        "dataBiases": ["All samples show the tissue of the source alone; samples of one slice are not independent."],
        "personalSensitiveInformation": [personal],
    }
    return {f"rai:{term}": value for term, value in values.items()}


def _provenance(card: CardRecord) -> dict[str, Any]:
    title = card.source["title"]
    stacks = [
        {
            "@type": "prov:Entity",
            "@id": f"source/stack-{index}",
            "prov:label": title if len(card.facts["inputs"]) == 1 else f"{title}, stack {index}",
            "prov:value": f"images sha256:{stack['images']['sha256']} labels sha256:{stack['labels']['sha256']}",
            **({"prov:atLocation": card.source["url"]} if "url" in card.source else {}),
        }
        for index, stack in enumerate(card.facts["inputs"])
    ]
    activity = {
        "@type": "prov:Activity",
        "@id": f"build/{card.record.fingerprint}",
        "prov:label": f"augpipe build, renderer version {card.facts['renderer']}",
        "prov:value": f"fingerprint {card.record.fingerprint}",
        "prov:wasAssociatedWith": {"@type": "prov:SoftwareAgent", "prov:label": makers(card)},
    }
    return {"prov:wasDerivedFrom": stacks, "prov:wasGeneratedBy": activity}


def _citation(card: CardRecord) -> str:
    title = f"{card.title}: {card.record.n} samples of {card.source['title']}"
    note = f"made with {makers(card)}, SHA-256 of dataset.json {card.dataset.digest}; source: {citation(card)}"
    return f"@misc{{{card.key}, title = {{{_braced(title)}}}, note = {{{_braced(note)}}}}}"


def _braced(text: str) -> str:
    """Return text that may stand in braces in BibTeX, which counts them and knows no way to escape one."""
    return text.replace("{", "(").replace("}", ")")


def _digest_uri(sha256: str) -> str:
    """Return the name that RFC 6920 gives to bytes of this digest."""
    return f"ni:///sha-256;{base64.urlsafe_b64encode(bytes.fromhex(sha256)).decode('ascii').rstrip('=')}"
