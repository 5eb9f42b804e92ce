#!/bin/sh
# Makes the base image where no image registry can be reached: Debian 12 with its own Python 3.11, from Debian's packages.
# As root, with mmdebstrap: deploy/image/stand_in_base.sh | podman import - python:3.11-slim-bookworm
# Like the image it stands in for, it holds Python, the certificates, no documentation, and of Perl only what Debian itself
# needs; it has no pip.
set -eu
command -v mmdebstrap > /dev/null || { echo "error: mmdebstrap is missing: apt-get install mmdebstrap" >&2; exit 1; }
exec mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates,usr-is-merged \
  --customize-hook='chroot "$1" apt-get -qq --yes purge usrmerge libperl5.36 perl-modules-5.36 > /dev/null' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/info/*' \
  bookworm
