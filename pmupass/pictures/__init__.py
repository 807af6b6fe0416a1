# SPDX-License-Identifier: Apache-2.0
"""Pictures of results: SVG and what other programs draw from. Reads documents, runs nothing."""
