"""Engines: one file per engine or vendor, its SDK imported lazily."""
