"""Corpora, chat logs and discussions become certified, packed training shards."""
