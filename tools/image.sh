#!/usr/bin/env bash
# An OCI image of Candor, made with buildah without root where the kernel allows it. The build is installed into the image (cmake --install), so the image needs Debian's base and Open MPI only.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'END'
usage: tools/image.sh [--base IMAGE] [--debootstrap | --from-rootfs DIR] [--tag NAME] [--output FILE.tar] [--torch copy|none] [--doctor]

  --base IMAGE       what the image stands on (docker.io/library/debian:12)
  --debootstrap      make Debian's root file system here from its package mirror, where no image registry can be reached (needs root)
  --from-rootfs DIR  stand on a root file system instead of a registry's image (debootstrap, or a site's own)
  --tag NAME         candor:<version>
  --output FILE      also write the image as an OCI archive: apptainer build candor.sif oci-archive:FILE, or enroot import
  --torch WAY        copy LibTorch into the image (default), or none: bind one and start candor --torch DIR
  --doctor           run candor doctor in the finished image
Needs: a release build (tools/build.sh), buildah, patchelf. BUILDAH_ISOLATION and STORAGE_DRIVER are buildah's own: chroot and vfs work in most containers.
END
}

base=docker.io/library/debian:12 rootfs="" version=$(cat VERSION) output="" torch=copy doctor=0 make_rootfs=0
tag=candor:$version
while [ $# -gt 0 ]; do
  case $1 in
    --base) base=${2:?} && shift ;;
    --debootstrap) make_rootfs=1 ;;
    --from-rootfs) rootfs=${2:?} && shift ;;
    --tag) tag=${2:?} && shift ;;
    --output) output=${2:?} && shift ;;
    --torch) torch=${2:?} && shift ;;
    --doctor) doctor=1 ;;
    --help | -h) usage && exit 0 ;;
    *) echo "image: unknown option '$1'" >&2 && usage >&2 && exit 2 ;;
  esac
  shift
done
for tool in buildah patchelf cmake; do
  command -v "$tool" >/dev/null || { echo "image: no $tool here: apt-get install $tool" >&2 && exit 1; }
done
[ -x build/release/candor ] || { echo "image: no release build: run tools/build.sh" >&2 && exit 1; }

staging=$(mktemp -d)
container=""
cleanup() {
  [ -z "$container" ] || buildah rm "$container" >/dev/null
  rm -rf "$staging"
}
trap cleanup EXIT
CANDOR_INSTALL_TORCH=$torch cmake --install build/release --strip --prefix "$staging/opt/candor" >/dev/null
echo "image: installed $(du -sh "$staging" | cut -f1) into a staging folder"

if [ $make_rootfs = 1 ]; then
  rootfs=$staging/rootfs
  debootstrap --variant=minbase --include=openmpi-bin,libopenmpi3,ca-certificates bookworm "$rootfs" >/dev/null
fi
if [ -n "$rootfs" ]; then
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$rootfs" / >/dev/null
else
  container=$(buildah from "$base")
  buildah run "$container" -- sh -c 'apt-get update -q && apt-get install -qy --no-install-recommends openmpi-bin libopenmpi3 ca-certificates && rm -rf /var/lib/apt/lists/*'
fi
buildah add --quiet "$container" "$staging/opt" /opt >/dev/null
buildah config --env PATH=/opt/candor/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --env OMP_WAIT_POLICY=passive --workingdir /opt/candor/share/candor \
  --label org.opencontainers.image.title=candor --label "org.opencontainers.image.version=$version" --entrypoint '["/opt/candor/bin/candor"]' --cmd -- "$container" >/dev/null
[ $doctor = 0 ] || buildah run "$container" -- /opt/candor/bin/candor doctor
buildah commit --quiet "$container" "$tag" >/dev/null
echo "image: $tag"
if [ -n "$output" ]; then
  buildah push --quiet "$tag" "oci-archive:$output:$tag"
  echo "image: $output ($(du -h "$output" | cut -f1)); apptainer build candor.sif oci-archive:$output"
fi
