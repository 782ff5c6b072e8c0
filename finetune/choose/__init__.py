"""CHOOSING BY EVIDENCE: heads, backbones and training compared on images that they have not seen."""
