#!/usr/bin/env bash
# Proves an image on one machine with a GPU, as Dataflow's workers would have it, before a job pays for ten.
#
#   terraform/prove_image.sh IMAGE PROJECT ZONE WORKER_ACCOUNT [GPU] [MACHINE_TYPE]
#
# Starts a machine with Container-Optimized OS, installs its driver, runs the sentiment job in the image
# with --device=cuda, and deletes the machine whatever came of it. The machine needs a way to Artifact
# Registry and the driver's bucket; gcloud connects to it through IAP.
set -euo pipefail

[ $# -ge 4 ] || { sed -n '2,8p' "$0" >&2; exit 2; }
image=$1 project=$2 zone=$3 account=$4 gpu=${5:-nvidia-l4} machine=${6:-g2-standard-8}
name=beam-bert-prove-$$
place=(--project="$project" --zone="$zone")

trap 'gcloud compute instances delete "$name" "${place[@]}" --quiet' EXIT
gcloud compute instances create "$name" "${place[@]}" --machine-type="$machine" \
  --accelerator="type=$gpu,count=1" --maintenance-policy=TERMINATE --boot-disk-size=100GB \
  --image-family=cos-stable --image-project=cos-cloud \
  --service-account="$account" --scopes=cloud-platform

on_machine() { gcloud compute ssh "$name" "${place[@]}" --tunnel-through-iap --command="$1"; }
for attempt in 1 2 3 4 5 6; do
  on_machine true && break
  [ "$attempt" -lt 6 ] || exit 1
  sleep "${PAUSE_S:-20}"
done
on_machine 'sudo cos-extensions install gpu && sudo mount --bind /var/lib/nvidia /var/lib/nvidia && sudo mount -o remount,exec /var/lib/nvidia'
on_machine "docker-credential-gcr configure-docker --registries=${image%%/*} && docker pull $image"
on_machine "docker run --rm --device=/dev/nvidia0 --device=/dev/nvidiactl --device=/dev/nvidia-uvm \
  --volume=/var/lib/nvidia:/usr/local/nvidia:ro --env=LD_LIBRARY_PATH=/usr/local/nvidia/lib64 --entrypoint=bash $image -euc \
  'printf \"{\\\"text\\\": \\\"a fine day\\\"}\\n\" > /tmp/in.jsonl
   python -m pipelines.sentiment --device=cuda --input=/tmp/in.jsonl --output=/tmp/out'"
echo "proved: $image computes on $gpu"
