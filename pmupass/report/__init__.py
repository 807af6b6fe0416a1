# SPDX-License-Identifier: Apache-2.0
"""Reports for people: rich tables within 100 columns. Numbers come from the documents alone."""
