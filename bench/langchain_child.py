"""LangChain's way: ``langchain_child.py FOLDER MODEL URL``, run by ``bench.ingestion`` in an environment of its own.

DirectoryLoader with TextLoader (its fastest for Markdown), RecursiveCharacterTextSplitter at about the model's limit,
HuggingFaceEmbeddings with the same model, PGVector. The model is loaded and warm before the clock starts. Prints one
JSON document.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings

warnings.simplefilter("ignore")

from langchain_community.document_loaders import DirectoryLoader, TextLoader  # noqa: E402
from langchain_huggingface import HuggingFaceEmbeddings  # noqa: E402
from langchain_postgres import PGVector  # noqa: E402
from langchain_text_splitters import RecursiveCharacterTextSplitter  # noqa: E402


def main(folder: str, model: str, url: str) -> None:
    embeddings = HuggingFaceEmbeddings(model_name=model, model_kwargs={"device": "cpu"})
    embeddings.embed_documents(["Warm, and as long as a sentence is on most days."] * 64)
    begun, cpu = time.perf_counter(), time.process_time()
    loader = DirectoryLoader(folder, glob="**/*.md", loader_cls=TextLoader, loader_kwargs={"encoding": "utf-8"})
    documents = loader.load()
    pieces = RecursiveCharacterTextSplitter(chunk_size=1000, chunk_overlap=200).split_documents(documents)
    PGVector.from_documents(pieces, embeddings, collection_name="bench", connection=url, pre_delete_collection=True)
    print(
        json.dumps(
            {
                "documents": len(documents), "chunks": len(pieces), "seconds": time.perf_counter() - begun,
                "cpu": time.process_time() - cpu,
                "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
