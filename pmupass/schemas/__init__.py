# SPDX-License-Identifier: Apache-2.0
"""JSON Schemas of the documents, generated: ``python -m pmupass.schemas FOLDER`` writes them."""
