#!/bin/sh
# Makes a base image without an image registry: Debian 12 with its own Python 3.11, from Debian's packages.
# As root, with mmdebstrap: deploy/image/stand_in_base.sh | podman import - python:3.11-slim-bookworm
# Like the original, it has Python, the certificates, no documentation, and only the Perl that Debian needs; it has no pip.
set -eu
command -v mmdebstrap > /dev/null || { echo "error: mmdebstrap is missing: apt-get install mmdebstrap" >&2; exit 1; }
exec mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates,usr-is-merged \
  --customize-hook='chroot "$1" apt-get -qq --yes purge usrmerge libperl5.36 perl-modules-5.36 > /dev/null' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/info/*' \
  bookworm
