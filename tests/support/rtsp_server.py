"""A camera on RTSP for tests: H.264 of a moving ball beside noise, or of a still scene, at rtsp://127.0.0.1:PORT/live.

Run it with the system's Python: rtsp_server.py PORT WIDTH HEIGHT FPS moving|still. It says READY when it listens.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - the versions come first

# Noise beside the ball, so that no two pictures are alike. A key frame each second, as cameras send them.
PIPELINE = (
    "( videotestsrc is-live=true pattern={ball} ! videoscale"
    " ! video/x-raw,width={width},height={height},framerate={fps}/1 ! mix."
    " videotestsrc is-live=true pattern={noise}"
    " ! video/x-raw,width={half},height={half_height},framerate={fps}/1 ! mix."
    " compositor name=mix ! videoconvert ! video/x-raw,format=I420"
    " ! x264enc tune=zerolatency speed-preset=ultrafast threads=1 key-int-max={fps} bitrate=1500"
    " ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
)


def main() -> None:
    """Serve until killed."""
    port, width, height, fps, scene = sys.argv[1:]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    size = {"width": width, "height": height, "half": int(width) // 2, "half_height": int(height) // 2}
    patterns = {"ball": "ball", "noise": "snow"} if scene == "moving" else {"ball": "blue", "noise": "red"}
    factory.set_launch(PIPELINE.format(fps=fps, **size, **patterns))
    factory.set_shared(True)
    server.get_mount_points().add_factory("/live", factory)
    if server.attach(None) == 0:
        sys.exit(f"cannot listen on port {port}")
    print("READY", flush=True)
    GLib.MainLoop().run()


main()
