# docker build -t draft-thinker .
# docker run --rm -p 8080:8080 -e OPENAI_API_KEY draft-thinker
#
# A configuration of your own:  -v "$PWD/my.yaml:/etc/draft-thinker/draft-thinker.yaml:ro"
# Another command:              docker run --rm draft-thinker check -c /etc/draft-thinker/draft-thinker.yaml
# Nothing is written but the log, to standard error: --read-only --cap-drop ALL is fine.
# At a stop running requests may finish: give them the time with docker stop --time 35.

FROM debian:12-slim AS build
WORKDIR /src
# The list of packages is the Makefile's; what they bring stays in this layer while the sources change.
COPY Makefile ./
COPY tests/tools/need tests/tools/
RUN apt-get update && apt-get install -y --no-install-recommends make && make deps
COPY LICENSE README.md ./
COPY include include
COPY src src
COPY config config
COPY docs docs
RUN make && make install PREFIX=/usr/local DESTDIR=/out && strip /out/usr/local/bin/draft-thinker

FROM debian:12-slim
RUN apt-get update \
	&& apt-get install -y --no-install-recommends ca-certificates libcurl4 libevent-2.1-7 \
		libevent-openssl-2.1-7 libjansson4 libssl3 libyaml-0-2 \
	&& rm -rf /var/lib/apt/lists/* \
	&& useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent \
		--shell /usr/sbin/nologin draft-thinker
COPY --from=build /out/usr/local/bin/draft-thinker /usr/local/bin/draft-thinker
COPY LICENSE /usr/local/share/doc/draft-thinker/LICENSE
COPY config/draft-thinker.yaml /etc/draft-thinker/draft-thinker.yaml
# By number, so that a cluster can see that it is not root.
USER 10001:10001
EXPOSE 8080
# bash speaks TCP by itself; nothing needs to be installed for it.
HEALTHCHECK --interval=15s --timeout=3s --start-period=5s --retries=3 CMD ["bash", "-c", \
	"exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /health/live HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && read -r -t 2 answer <&3 && [[ $answer == *' 200 '* ]]"]
ENTRYPOINT ["/usr/local/bin/draft-thinker"]
CMD ["-c", "/etc/draft-thinker/draft-thinker.yaml"]
