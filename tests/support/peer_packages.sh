#!/usr/bin/env bash
# Installs what all comparisons with peers need at once. What cannot be installed is left to each of
# them, which skips without it.
set -u
# shellcheck source=tests/support/peer_venv.sh
. "$(dirname "$0")/peer_venv.sh"
peer_python tensorflow,tensorboard,h5py,appdirs,pycocotools.mask tensorflow-cpu tensorboard h5py appdirs \
  pycocotools numpy
