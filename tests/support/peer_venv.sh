# For tests that compare with a peer from PyPI; source it. All of them share one virtual environment in
# the build folder, where peer_packages.sh installs the packages of all; a test that runs alone installs
# its own.
#
#   peer_python MODULES PACKAGE...  installs PACKAGE... unless Python can import MODULES (with commas), and
#                                   sets $peer_python; without Python or network the test ends here, skipped

peer_python() {
  local module=$1 venv=${EDT_BIN_DIR:?}/../peer_venv
  shift
  peer_python=$venv/bin/python
  # Two tests may want to install at once.
  exec 9>"$venv.lock"
  flock 9
  if ! "$peer_python" -c "import $module" 2>/dev/null; then
    if ! { { [ -x "$peer_python" ] || python3 -m venv "$venv"; } &&
      "$venv/bin/pip" -q install --no-compile "$@"; } >"$venv.log" 2>&1 ||
      ! "$peer_python" -c "import $module" 2>>"$venv.log"; then
      echo "skipped: $* cannot be installed here ($(tail -n 1 "$venv.log"))"
      exit 0
    fi
  fi
  flock -u 9
}
