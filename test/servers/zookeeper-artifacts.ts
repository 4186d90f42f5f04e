/** The server does not name all that it needs to run. */
export const zookeeper39: readonly string[] = [
  'org.apache.zookeeper:zookeeper:3.9.5',
  'io.dropwizard.metrics:metrics-core:4.1.12.1',
  'org.xerial.snappy:snappy-java:1.1.10.5',
  'commons-cli:commons-cli:1.5.0', // for zkCli
];
