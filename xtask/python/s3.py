"""An S3 server with one bucket, in memory, on a loopback port.

    s3.py BUCKET

Prints `ready ADDRESS` on standard error; ends with 0 on SIGTERM. It is moto's server, with one lock around
what changes objects: two conditional PUTs of one key at the same time must not both find it absent, as they
must not on S3, and moto looks first and stores later. Before it is ready it tries that a conditional
PUT of a key that exists is refused.
"""

import logging
import signal
import sys
import threading

import boto3
from botocore.exceptions import ClientError
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server


class OneWriterAtATime:
    def __init__(self, application):
        self.application = application
        self.lock = threading.Lock()

    def __call__(self, environ, start_response):
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return self.application(environ, start_response)
        with self.lock:
            return list(self.application(environ, start_response))


def check(client, bucket):
    client.put_object(Bucket=bucket, Key="conditional", Body=b"1", IfNoneMatch="*")
    try:
        client.put_object(Bucket=bucket, Key="conditional", Body=b"2", IfNoneMatch="*")
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 412:
            client.delete_object(Bucket=bucket, Key="conditional")
            return
    sys.exit("the S3 server takes a conditional PUT of a key that exists")


def main():
    bucket = sys.argv[1]
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = OneWriterAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        client.create_bucket(Bucket=bucket)
        check(client, bucket)
    except BaseException:
        server.shutdown()
        raise
    print(f"ready {endpoint}", file=sys.stderr, flush=True)
    serving.join()


main()
